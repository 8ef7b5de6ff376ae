-- Requests for wrk: one of a file's at random, each time. A line of the file is
-- a path and, where the request is conditional, a tag behind a blank. Headers of
-- the command line go with each.

local requests = {}

local seeds = 0
function setup(thread)
  seeds = seeds + 1
  thread:set("seed", seeds)
end

function init(args)
  math.randomseed(seed)
  for line in io.lines(args[1]) do
    local path, tag = line:match("^(%S+)%s*(.*)$")
    local headers = {}
    for name, value in pairs(wrk.headers) do
      headers[name] = value
    end
    if tag ~= "" then
      headers["If-None-Match"] = tag
    end
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\nresult {"requests": %d, "microseconds": %d, "failed": %d, "refused": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
