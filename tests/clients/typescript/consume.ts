// What an application does with the generated clients. Prints what it got, as JSON.
// node consume.js URL, with USERNAME and PASSWORD in the environment.
import * as core from './generated/core';
import { client as coreClient } from './generated/core/client.gen';
import * as service from './generated/service';
import { client as serviceClient } from './generated/service/client.gen';

function of<T>(answer: { data?: T; error?: unknown; response?: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response?.status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

async function main(url: string, username: string, password: string) {
  serviceClient.setConfig({ baseUrl: url });
  coreClient.setConfig({ baseUrl: url });

  const refused = await service.login({ body: { username, password: 'wrong' } });
  const tokens = of(await service.login({ body: { username, password } }));
  const auth = `Bearer ${tokens.access_token}`;
  serviceClient.setConfig({ auth });
  coreClient.setConfig({ auth });

  const called = of(await service.manualTransmission({ body: { hp: 120, wt: 2.8 } }));
  const records = [
    { hp: 120, wt: 2.8 },
    { hp: 110, wt: 2.62 }
  ];
  const started = of(
    await service.startBatchExecution({ body: records, query: { parallelCount: 2 } })
  );
  const path = { executionId: started.batchExecutionId! };
  let batch = of(await service.getBatchExecutionStatus({ path }));
  for (const end = Date.now() + 60_000; batch.state !== 'Complete' && Date.now() < end; ) {
    await new Promise(resolve => setTimeout(resolve, 50));
    batch = of(await service.getBatchExecutionStatus({ path }));
  }
  const files = of(await service.getBatchExecutionFiles({ path: { ...path, index: 1 } }));
  const deleted = of(await service.cancelAndDeleteBatchExecution({ path }));

  const listed = of(await core.getAllWebServiceVersionsByName({ path: { name: 'TxService' } }));
  const missing = await core.getWebServiceVersion({ path: { name: 'Nothing', version: '1.0' } });
  const status = of(await core.status());
  return {
    refused: refused.response?.status,
    called: called.outputParameters?.answer,
    missingNumber: called.outputParameters?.missing,
    written: called.outputFiles,
    state: batch.state,
    batch: batch.batchExecutionResults?.map(result => result.outputParameters?.answer),
    files,
    deleted: deleted[0] === path.executionId,
    listed: listed.map(({ name, version, operationId }) => ({ name, version, operationId })),
    missing: [missing.response?.status, missing.error?.exceptionType],
    status: status.statusCode
  };
}

const { USERNAME, PASSWORD } = process.env;
main(process.argv[2]!, USERNAME!, PASSWORD!).then(
  found => console.log(JSON.stringify(found)),
  (error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  }
);
