// Package devstack is the root of the module that runs Orderhub's stores
// without anything installed: what `make run` starts, and what tests start.
//
//   - [github.com/orderhub/orderhub/scripts/devstack/postgres] runs a private PostgreSQL server.
//   - [github.com/orderhub/orderhub/scripts/devstack/broker] runs a Kafka-protocol broker inside this process.
//   - [github.com/orderhub/orderhub/scripts/devstack/process] starts children that never outlive this process.
//   - [github.com/orderhub/orderhub/scripts/devstack/dex] runs an identity provider, for tests.
//   - [github.com/orderhub/orderhub/scripts/devstack/gobuild] builds programs that only tests need.
//   - [github.com/orderhub/orderhub/scripts/devstack/browser] runs a headless Chromium for tests of pages.
//   - [github.com/orderhub/orderhub/scripts/devstack/datadir] guards a data folder against a second user.
//   - [github.com/orderhub/orderhub/scripts/devstack/ports] finds free ports and names taken ones.
//
// Only development depends on this module: no service's go.mod holds it.
package devstack
