"""Seconds from running the publish cell to the first scored reply, in a warm kernel."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from support.running_server import start_server

SETUP = """
import pandas as pd
from sklearn.linear_model import LinearRegression
frame = pd.DataFrame({"hp": [110.0, 93, 175], "wt": [2.6, 2.3, 3.4], "am": [1.0, 1, 0]})
model = LinearRegression().fit(frame[["hp", "wt"]], frame["am"])
"""
CELL = """%%publish_service Tx --version {version} -i "hp: float, wt: float" \\
    -o "answer: DataFrame" --sample "hp=120, wt=2.8"
answer = pd.DataFrame({{"am_Pred": model.predict(pd.DataFrame({{"hp": [hp], "wt": [wt]}}))}})
"""
ROUNDS = 8
READING = 4  # seconds between training the model and running the publish cell


def main() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mlserve import DeployClient

    with tempfile.TemporaryDirectory() as name:
        server = start_server(Path(name))
        try:
            os.environ["JUPYTER_MLSERVE_URL"] = server.url
            os.environ["JUPYTER_MLSERVE_TOKEN"] = server.token
            shell = InteractiveShell.instance()
            shell.run_cell("%load_ext jupyter_mlserve").raise_error()
            shell.run_cell(SETUP).raise_error()
            client = DeployClient(server.url, auth=server.token)
            time.sleep(READING)
            seconds = []
            for number in range(ROUNDS):
                start = time.perf_counter()
                shell.run_cell(CELL.format(version=f"1.{number}")).raise_error()
                service = client.get_service("Tx", version=f"1.{number}")
                assert service.consume(hp=120, wt=2.8).output("answer").shape == (1, 1)
                seconds.append(time.perf_counter() - start)
        finally:
            server.stop()
    print(f"publish cell to first scored reply, first time:   {seconds[0]:.2f} s")
    print(
        f"publish cell to first scored reply, median after: {statistics.median(seconds[1:]):.2f} s"
    )


if __name__ == "__main__":
    main()
