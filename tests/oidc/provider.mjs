// An OpenID provider (oidc-provider) on loopback, for the tests: `node provider.mjs PORT`. It says `ready` when it
// listens. A line `rotate` on standard input makes it sign with a new key and publish the former one beside it; `replace`
// does so and takes the former ones away. After each it says `done`.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const AUDIENCE = "config-server";
const SCOPES = "config:read config:read:pay/prod config:write";

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

function provider(keys) {
  return new Provider(issuer, {
    jwks: { keys },
    scopes: SCOPES.split(" "),
    clients: [
      {
        client_id: "pay",
        client_secret: "a-secret-of-the-tests",
        grant_types: ["client_credentials"],
        response_types: [],
        redirect_uris: [],
        scope: SCOPES,
      },
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `urn:${AUDIENCE}`,
        getResourceServerInfo: () => ({
          scope: SCOPES,
          audience: AUDIENCE,
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  }).callback();
}

let keys = [newKey()];
let answer = provider(keys);
const server = createServer((request, response) => answer(request, response));
server.listen(port, "127.0.0.1", () => console.log("ready"));

createInterface({ input: process.stdin }).on("line", (line) => {
  keys = line === "rotate" ? [newKey(), ...keys] : [newKey()];
  answer = provider(keys);
  console.log("done");
}).on("close", () => process.exit(0));
