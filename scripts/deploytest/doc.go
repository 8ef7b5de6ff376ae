// Package deploytest checks what is shipped beside the code, without a container
// engine: that the Dockerfile's steps build from what it copies, that compose
// and Kubernetes files fit together and set only what the programs read, and that
// alerts and dashboards speak of metrics that exist.
package deploytest
