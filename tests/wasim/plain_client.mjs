// A plain WhatsApp client on the npm Baileys, without Holdfast: commands as JSON lines on stdin, events as JSON
// lines on stdout. The proof that wasim speaks to the real library, and the base of the benchmark's floor.
//
//   node plain_client.mjs --url ws://… --root HEX [--auth FILE | --folder DIR] [--phone DIGITS --code]
//
// Commands: {"do":"connect"} {"do":"version","version":[…]} {"do":"send","id":n,"to":jid,"text":…,"messageId"?}
//   {"do":"read","id":n,"keys":[…]}
//   {"do":"presence","type":…,"to"?} {"do":"subscribe","to":jid} {"do":"on-whatsapp","id":n,"phones":[…]}
//   {"do":"query","id":n,"node":{…}} {"do":"block","id":n,"jid":…,"action":…} {"do":"privacy","id":n}
//   {"do":"group-create","id":n,"subject":…,"members":[…]} {"do":"pair-code","id":n,"phone":…}
//   {"do":"logout"} {"do":"close"} {"do":"dump","id":n,"file":…} {"do":"settled","id":n} {"do":"exit"}
// Events: {"on":"qr"|"open"|"close"|"message"|"update"|"receipt"|"ack"|"presence"|"offline"|"history"|"result"|…}
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    root: { type: 'string' },
    auth: { type: 'string' },
    folder: { type: 'string' },
    keepalive: { type: 'string', default: '30000' },
    modules: { type: 'string', default: join(dirname(fileURLToPath(import.meta.url)), '../../sidecar/node_modules') },
  },
})

// stdout carries events only: libsignal prints whole sessions with console.log
for (const name of ['log', 'info', 'warn', 'error', 'debug']) console[name] = () => {}
const emit = (on, facts = {}) => process.stdout.write(JSON.stringify({ on, ...facts }) + '\n')
process.on('unhandledRejection', error => emit('unhandled', { code: error?.code, message: error?.message }))

const require = createRequire(join(options.modules, 'x.js'))
const baileys = await import(pathToFileURL(require.resolve('baileys')).href)
const { default: makeWASocket, initAuthCreds, BufferJSON, WA_CERT_DETAILS, proto, downloadMediaMessage } = baileys
const { WA_CERT_DETAILS: details } = WA_CERT_DETAILS
  ? baileys
  : await import(pathToFileURL(join(dirname(require.resolve('baileys')), 'Defaults/index.js')).href)
details.PUBLIC_KEY = Buffer.from(options.root, 'hex')

const silent = { level: 'silent', child: () => silent }
for (const name of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) silent[name] = () => {}

/** Credentials and Signal keys in memory; `dump` writes them as Baileys' own JSON. */
class MemoryAuth {
  constructor(file) {
    const saved = file ? JSON.parse(readFileSync(file, 'utf8'), BufferJSON.reviver) : undefined
    this.creds = saved?.creds ?? initAuthCreds()
    this.data = saved?.keys ?? {}
    this.keys = {
      get: async (type, ids) => {
        const found = {}
        for (const id of ids) {
          const value = this.data[type]?.[id]
          if (value === undefined) continue
          const read = JSON.parse(value, BufferJSON.reviver)
          found[id] = type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(read) : read
        }
        return found
      },
      set: async changes => {
        for (const [type, entries] of Object.entries(changes)) {
          const kept = (this.data[type] ??= {})
          for (const [id, value] of Object.entries(entries)) {
            if (value === null || value === undefined) delete kept[id]
            else kept[id] = JSON.stringify(value, BufferJSON.replacer)
          }
        }
      },
    }
  }

  dump(file) {
    writeFileSync(file, JSON.stringify({ creds: this.creds, keys: this.data }, BufferJSON.replacer))
  }
}

/** Credentials and Signal keys in a folder, kept by Baileys itself. */
async function folderAuth(folder) {
  const { state, saveCreds } = await baileys.useMultiFileAuthState(folder)
  const writing = new Set()
  const noted = write => (...args) => {
    const done = write(...args).finally(() => writing.delete(done))
    writing.add(done)
    return done
  }
  const keys = { get: state.keys.get, set: noted(state.keys.set) }
  return { creds: state.creds, keys, data: {}, save: noted(saveCreds), settled: () => Promise.all(writing) }
}

const auth = options.folder ? await folderAuth(options.folder) : new MemoryAuth(options.auth)
const received = new Map()
let sock
let version

const textOf = message =>
  message?.conversation ?? message?.extendedTextMessage?.text ?? message?.deviceSentMessage?.message?.conversation

function connect() {
  sock = makeWASocket({
    waWebSocketUrl: options.url,
    ...(version && { version }),
    auth: { creds: auth.creds, keys: auth.keys },
    logger: silent,
    browser: ['Mac OS', 'Chrome', '14.4.1'],
    keepAliveIntervalMs: Number(options.keepalive),
    syncFullHistory: false,
    generateHighQualityLinkPreview: false,
  })
  watch(sock)
}

function watch(sock) {
  sock.ev.on('creds.update', update => {
    Object.assign(auth.creds, update)
    auth.save?.()
  })
  sock.ev.on('connection.update', ({ connection, qr, lastDisconnect, isNewLogin, receivedPendingNotifications }) => {
    if (qr) emit('qr', { qr })
    if (isNewLogin) emit('paired', { me: auth.creds.me })
    if (receivedPendingNotifications) emit('offline-done')
    if (connection === 'open') emit('open', { me: auth.creds.me })
    if (connection === 'close') {
      const error = lastDisconnect?.error
      emit('close', { code: error?.output?.statusCode, message: error?.message, data: error?.data?.attrs ?? error?.data?.tag })
    }
  })
  sock.ev.on('messages.upsert', ({ messages, type }) => {
    for (const whole of messages) {
      const { key, message, pushName, status, messageStubType } = whole
      if (message?.imageMessage) received.set(key.id, whole)
      emit('message', { type, key, text: textOf(message), kind: Object.keys(message ?? {})[0], pushName, status, stub: messageStubType })
    }
  })
  sock.ev.on('messages.update', updates => {
    for (const { key, update } of updates) emit('update', { key, status: update.status, stub: update.messageStubParameters })
  })
  sock.ev.on('message-receipt.update', updates => updates.forEach(update => emit('receipt', update)))
  sock.ev.on('presence.update', update => emit('presence', update))
  sock.ev.on('blocklist.update', update => emit('blocklist', update))
  sock.ev.on('groups.upsert', groups => emit('groups', { groups }))
  sock.ev.on('messaging-history.set', ({ chats, contacts, messages, syncType, isLatest }) =>
    emit('history', { chats: chats.length, contacts: contacts.length, messages: messages.length, syncType, isLatest }))
  sock.ws.on('CB:ack,class:message', ({ attrs }) => emit('ack', attrs))
}

const commands = {
  connect: async () => connect(),
  version: async facts => { version = facts.version },
  send: async ({ to, text, messageId }) => (await sock.sendMessage(to, { text }, { messageId })).key,
  react: async ({ to, key, emoji }) => (await sock.sendMessage(to, { react: { text: emoji, key } })).key,
  image: async ({ to, base64, caption }) => (await sock.sendMessage(to, { image: Buffer.from(base64, 'base64'), caption })).key,
  download: async ({ key }) => (await downloadMediaMessage(received.get(key.id), 'buffer', {})).toString('base64'),
  'forget-sessions': async () => { auth.data.session = {} },
  'forge-identity': async () => {
    auth.creds.account = { ...auth.creds.account, accountSignature: Buffer.alloc(64, 1) }
    auth.data.session = {}
  },
  read: async ({ keys }) => sock.readMessages(keys),
  presence: async ({ type, to }) => sock.sendPresenceUpdate(type, to),
  subscribe: async ({ to }) => sock.presenceSubscribe(to),
  'on-whatsapp': async ({ phones }) => sock.onWhatsApp(...phones),
  query: async ({ node }) => sock.query(node),
  block: async ({ jid, action }) => sock.updateBlockStatus(jid, action),
  blocklist: async () => sock.fetchBlocklist(),
  privacy: async () => sock.fetchPrivacySettings(true),
  'group-create': async ({ subject, members }) => sock.groupCreate(subject, members),
  groups: async () => sock.groupFetchAllParticipating(),
  archive: async ({ jid, last }) => sock.chatModify({ archive: true, lastMessages: [last] }, jid),
  rotate: async () => sock.rotateSignedPreKey(),
  'pair-code': async ({ phone }) => sock.requestPairingCode(phone),
  logout: async () => sock.logout(),
  close: async () => sock.end(undefined),
  dump: async ({ file }) => auth.dump(file),
  settled: async () => void (await auth.settled?.()),
  memory: async () => process.memoryUsage.rss(),
  exit: async () => process.exit(0),
}

const input = createInterface({ input: process.stdin })
input.on('close', () => process.exit(0))
input.on('line', async line => {
  const { do: name, id, ...facts } = JSON.parse(line)
  try {
    const value = await commands[name](facts)
    if (id !== undefined) emit('result', { id, value: value ?? null })
  } catch (error) {
    emit('result', { id, error: error?.message ?? String(error), code: error?.output?.statusCode ?? error?.data })
  }
})
emit('ready')
