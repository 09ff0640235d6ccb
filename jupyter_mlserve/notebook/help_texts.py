"""Texts of the magics' options that more than one magic has."""

from __future__ import annotations

NAME = "name of the service"
VERSION = "the version, for example 1.0"
GUID = VERSION + " (default: a GUID that the server makes)"
NEWEST = VERSION + " (default: the newest)"
DESCRIPTION = "what the service does, in a sentence, for those who call it"
ALIAS = "the operation's name in swagger and in clients"
INPUTS = (
    'the inputs, "name: type" with commas between: "hp: float, wt: float = 2.8, df: DataFrame[a:'
    ' int]". Types: bool int float str numpy.array numpy.matrix DataFrame datetime bytes list dict'
)
OUTPUTS = 'the outputs, written like the inputs: "answer: DataFrame"'
UPDATE = "replace the version if it is there already (otherwise that is an error);"
ARTIFACT = "a file that the code writes and every reply brings back (may be given several times)"
SAMPLE = (
    'inputs to call the service with before it is published: "hp=120, wt=2.8"; values are Python'
    " literals or names of variables of the notebook (a DataFrame, for example), or the name of"
    " one dict. They become the example in the service's swagger. Of an input declared as plain"
    " DataFrame, the sample frame declares the columns"
)
POOL = "workers (processes) of this version"
BATCHABLE = (
    "the service takes a frame of any number of rows and answers each row by itself (one input, a"
    " DataFrame; one output, a DataFrame or vector with a row for each; no files). Batches then"
    " hand the rows of many records to one call. A sample of two rows or more proves it: its rows"
    " must have the same answers together and apart"
)
REALTIME = """\
The model is compiled to ONNX here, in the kernel, and proven: its answers must be the model's own
on the sample, on rows with missing values, unseen categories and odd texts, and at the thresholds
of trees. Only the compiled model travels: no code, no pickle. A frame goes in (inputData) and a
frame comes out (outputData), in microseconds. A model that has no compiled form that is right is
refused, with the reason; %%publish_service publishes it as it is.

A column of the sample that the model was not fitted on is refused, unless it is the response. A
model fitted on an array has inputs x0, x1, ...; a DataFrame as the sample gives them its names.

Output columns: NAME_Pred for a regression (NAME: the response; Pred without one). Otherwise
PredictedLabel, with Probability or Score (two classes: of the second), Score.CLASS (more) or Score
(anomalies).

In Python:
  from jupyter_mlserve import DeployClient, serialize_model
  client = DeployClient()
  model_bytes = serialize_model(pipeline, flats, response="rent")
  client.deploy_realtime("Rent", version="1.0", serialized_model=model_bytes)
"""
BATCH = """\
The records are stored on the server before anything else, so nothing is lost when the kernel, the
server or the connection goes. Interrupting the cell ends the watching, not the batch: the line
that goes on with it is shown. A record that fails fails alone; how many did, and the first of
their errors, is shown, and the column error of the results has all of them.

Many rows travel as an Arrow stream by themselves, where pyarrow is installed and the service
takes many rows in one call: realtime services, and those published with --batchable.

In Python:
  svc = DeployClient().get_service("TxService", version="1.0")
  batch = svc.batch(cars, parallel_count=10).start()
  out = batch.wait(progress=True).to_frame()
  batch = svc.get_batch(batch.execution_id)     # later, or elsewhere
  batch.results().execution(0).output("answer")
  batch.download(0, destination="files")
  batch.cancel()
"""
