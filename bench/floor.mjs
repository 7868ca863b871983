// The floor: what a bare script on Baileys does with the same accounts, one process, keys in SQLite outside its heap.
//
//   node floor.mjs URL ROOT_KEY DATABASE session,session,...
//
// Commands as JSON lines on stdin: {"do":"send","session","to","count","parallel"}; events on stdout: {"on":"open"|
// "sent"|"message"}. The database is a copy of the table in which the credentials and keys of these sessions lie.
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const [url, root, file, names] = process.argv.slice(2)
for (const name of ['log', 'info', 'warn', 'error', 'debug']) console[name] = () => {}
const emit = (on, facts = {}) => process.stdout.write(JSON.stringify({ on, ...facts }) + '\n')

const here = dirname(fileURLToPath(import.meta.url))
const require = createRequire(join(here, '../sidecar/node_modules/x.js'))
const baileys = await import(pathToFileURL(require.resolve('baileys')).href)
const { makeWASocket, BufferJSON, proto } = baileys
const defaults = await import(pathToFileURL(join(dirname(require.resolve('baileys')), 'Defaults/index.js')).href)
defaults.WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(root, 'hex')

const silent = { level: 'silent', child: () => silent }
for (const name of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) silent[name] = () => {}

const db = new DatabaseSync(file)
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
const read = db.prepare('SELECT value FROM credential WHERE session_name = ? AND type = ? AND id = ?')
const put = db.prepare('INSERT OR REPLACE INTO credential (session_name, type, id, value) VALUES (?, ?, ?, ?)')
const drop = db.prepare('DELETE FROM credential WHERE session_name = ? AND type = ? AND id = ?')

const parse = (type, bytes) => {
  const value = JSON.parse(Buffer.from(bytes).toString(), BufferJSON.reviver)
  return type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value
}
const dump = value => Buffer.from(JSON.stringify(value, BufferJSON.replacer))

/** Keys of one session, read and written as Baileys asks, one transaction per write. */
const keysOf = session => ({
  get: async (type, ids) => {
    const found = {}
    for (const id of ids) {
      const row = read.get(session, type, id)
      if (row) found[id] = parse(type, row.value)
    }
    return found
  },
  set: async data => {
    db.exec('BEGIN IMMEDIATE')
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values)) {
        if (value) put.run(session, type, id, dump(value))
        else drop.run(session, type, id)
      }
    }
    db.exec('COMMIT')
  },
})

const socks = {}
let open = 0
for (const session of names.split(',')) {
  const creds = parse('creds', read.get(session, 'creds', '').value)
  const sock = makeWASocket({
    auth: { creds, keys: keysOf(session) }, waWebSocketUrl: url, logger: silent, syncFullHistory: false,
  })
  socks[session] = { sock, acks: new Map() }
  sock.ev.on('creds.update', () => put.run(session, 'creds', '', dump(creds)))
  sock.ev.on('connection.update', update => {
    if (update.connection === 'open' && ++open === Object.keys(socks).length) emit('open', { count: open })
    if (update.connection === 'close') emit('close', { session, code: update.lastDisconnect?.error?.output?.statusCode })
  })
  sock.ws.on('CB:ack,class:message', node => socks[session].acks.get(node.attrs.id)?.())
  sock.ev.on('messages.upsert', ({ messages }) => {
    for (const { key, message } of messages) {
      if (!key.fromMe && message?.conversation) emit('message', { id: key.id, at: Date.now() / 1000 })
    }
  })
}

async function send({ session, to, count, parallel }) {
  const sessions = [session].flat()
  const started = performance.now()
  let next = 0
  const worker = async lane => {
    const { sock, acks } = socks[sessions[lane % sessions.length]]
    while (next < count) {
      const id = `3EB0F${process.pid.toString(16)}${(next++).toString(16).padStart(8, '0')}`.toUpperCase()
      const acked = new Promise(resolve => acks.set(id, resolve))
      await sock.sendMessage(to[lane % to.length], { text: `floor ${id}` }, { messageId: id })
      await acked
      acks.delete(id)
    }
  }
  await Promise.all(Array.from({ length: parallel }, (_, lane) => worker(lane)))
  emit('sent', { count, seconds: (performance.now() - started) / 1000 })
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  if (command.do === 'send') await send(command)
}
process.exit(0)
