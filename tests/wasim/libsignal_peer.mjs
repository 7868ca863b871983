// A device made of the npm libsignal and Baileys' group ciphers, which test_signal.py talks with: one JSON command a
// line on stdin, one JSON answer a line on stdout. Bytes are base64.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { randomInt } from 'node:crypto'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// stdout carries answers only: libsignal prints whole sessions with console.log
for (const name of ['log', 'info', 'warn', 'error', 'debug']) console[name] = () => {}

const modules = join(dirname(fileURLToPath(import.meta.url)), '../../sidecar/node_modules')
const require = createRequire(join(modules, 'x.js'))
const { curve, SessionBuilder, SessionCipher, ProtocolAddress } = require('libsignal')
const group = await import(pathToFileURL(join(modules, 'baileys/lib/Signal/Group/index.js')).href)

const bytes = text => Buffer.from(text, 'base64')
const text = data => Buffer.from(data).toString('base64')

const identity = curve.generateKeyPair()
const registrationId = randomInt(1, 16380)
const signed = { keyId: 7, ...curve.generateKeyPair() }
const preKeys = new Map(Array.from({ length: 20 }, (_, at) => [at + 1, curve.generateKeyPair()]))
const sessions = new Map()
const senderKeys = new Map()

const storage = {
  loadSession: async id => sessions.get(id),
  storeSession: async (id, record) => sessions.set(id, record),
  isTrustedIdentity: () => true,
  loadPreKey: async id => preKeys.get(id),
  removePreKey: async id => preKeys.delete(id),
  loadSignedPreKey: id => (id === signed.keyId ? signed : undefined),
  getOurRegistrationId: () => registrationId,
  getOurIdentity: () => identity,
  loadSenderKey: async name => senderKeys.get(name.toString()) ?? new group.SenderKeyRecord(),
  storeSenderKey: async (name, record) => senderKeys.set(name.toString(), record),
}
const address = new ProtocolAddress('peer', 1)
const cipher = new SessionCipher(storage, address)
const senderName = who => new group.SenderKeyName('team@g.us', new ProtocolAddress(who, 0))

const commands = {
  keys: () => ({
    registrationId,
    identity: text(identity.pubKey.slice(1)),
    signedId: signed.keyId,
    signed: text(signed.pubKey.slice(1)),
    signature: text(curve.calculateSignature(identity.privKey, signed.pubKey)),
    preKeys: [...preKeys].map(([id, { pubKey }]) => [id, text(pubKey.slice(1))]),
  }),
  begin: async ({ registrationId, identity, signedId, signed, signature, preKeyId, preKey }) => {
    const typed = key => Buffer.concat([Buffer.from([5]), bytes(key)])
    // libsignal's own look at the signature always answers true when a session begins; here it counts
    if (!curve.verifySignature(typed(identity), typed(signed), bytes(signature))) throw new Error('bad signature')
    await new SessionBuilder(storage, address).initOutgoing({
      registrationId,
      identityKey: typed(identity),
      signedPreKey: { keyId: signedId, publicKey: typed(signed), signature: bytes(signature) },
      preKey: preKey ? { keyId: preKeyId, publicKey: typed(preKey) } : undefined,
    })
  },
  encrypt: async ({ plain }) => {
    const { type, body } = await cipher.encrypt(bytes(plain))
    return { kind: type === 3 ? 'pkmsg' : 'msg', data: text(body) }
  },
  decrypt: async ({ kind, data }) =>
    text(await (kind === 'pkmsg' ? cipher.decryptPreKeyWhisperMessage(bytes(data)) : cipher.decryptWhisperMessage(bytes(data)))),
  distribution: async () => text((await new group.GroupSessionBuilder(storage).create(senderName('own'))).serialize()),
  'group-encrypt': async ({ plain }) => text(await new group.GroupCipher(storage, senderName('own')).encrypt(bytes(plain))),
  'group-learn': async ({ data }) => {
    const message = new group.SenderKeyDistributionMessage(null, null, null, null, bytes(data))
    await new group.GroupSessionBuilder(storage).process(senderName('peer'), message)
  },
  'group-decrypt': async ({ data }) => text(await new group.GroupCipher(storage, senderName('peer')).decrypt(bytes(data))),
}

const input = createInterface({ input: process.stdin })
input.on('close', () => process.exit(0))
for await (const line of input) {
  const { do: name, ...facts } = JSON.parse(line)
  try {
    process.stdout.write(JSON.stringify({ value: (await commands[name](facts)) ?? null }) + '\n')
  } catch (error) {
    process.stdout.write(JSON.stringify({ error: error?.message ?? String(error) }) + '\n')
  }
}
