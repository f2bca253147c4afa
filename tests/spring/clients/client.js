// Reads a configuration with the npm package cloud-config-client; prints what an application gets of it as JSON.
'use strict'

const { load } = require('cloud-config-client')

load(JSON.parse(process.argv[2])).then(
  (config) => {
    const told = {
      name: config.raw.name,
      profiles: config.raw.profiles,
      label: config.raw.label,
      properties: config.properties,
      tree: config.toObject()
    }
    console.log(JSON.stringify(told))
  },
  (failure) => {
    console.log(JSON.stringify({ failure: failure.message }))
  }
)
