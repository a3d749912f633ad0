// Sends the calls in the file argv[4] with Segment's own SDK for Node, and prints each one's id.
// Run with NODE_PATH set to where @segment/analytics-node is installed.
const { readFileSync } = require('node:fs')
const { Analytics } = require('@segment/analytics-node')

const [writeKey, host, file] = process.argv.slice(2)
const analytics = new Analytics({ writeKey, host, flushAt: 4 })
const ids = []

analytics.on('error', (error) => {
  console.error(error)
  process.exitCode = 1
})
JSON.parse(readFileSync(file)).forEach(({ type, ...call }, index) => {
  analytics[type](call, (error, context) => {
    if (error) throw error
    ids[index] = context.event.messageId
  })
})
analytics.closeAndFlush().then(() => console.log(JSON.stringify(ids)))
