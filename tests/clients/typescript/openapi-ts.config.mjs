// One client for the service, one for the server: each from its own swagger.json.
export default ['service', 'core'].map(name => ({
  input: `${name}.json`,
  output: `generated/${name}`,
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  logs: { level: 'error', file: false }
}));
