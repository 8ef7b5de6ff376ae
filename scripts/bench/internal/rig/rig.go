// Package rig sets up what benchmarks run against: a private PostgreSQL with
// safe settings, the embedded broker in a process of its own, synthetic orders,
// and the real services.
package rig

import "time"

// stopTimeout is how long a part may take to stop before it is killed.
const stopTimeout = 20 * time.Second
