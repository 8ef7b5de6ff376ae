// Package health reports whether a service can do its work: for each component
// whether it is ready, since when, and why not.
package health

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Registry holds the components of one service. It is ready when all of them are.
// Safe for concurrent use.
type Registry struct {
	mu         sync.Mutex
	components []*Component
	now        func() time.Time
}

// NewRegistry returns an empty registry, which is ready.
func NewRegistry() *Registry { return &Registry{now: time.Now} }

// Component is a part that must work, such as "database". Safe for concurrent use.
type Component struct {
	registry *Registry
	name     string
	ready    bool
	detail   string
	since    time.Time
}

// Component adds a component that is not ready yet.
func (r *Registry) Component(name string) *Component {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Component{registry: r, name: name, detail: "starting", since: r.now()}
	r.components = append(r.components, c)
	return c
}

// Ready marks the component as working. detail may be empty. It returns whether the
// component was not ready before.
func (c *Component) Ready(detail string) (changed bool) { return c.set(true, detail) }

// NotReady marks the component as not working, and why. It returns whether the
// component was ready before. Repeated calls keep the time of the first.
func (c *Component) NotReady(why string) (changed bool) { return c.set(false, why) }

func (c *Component) set(ready bool, detail string) bool {
	c.registry.mu.Lock()
	defer c.registry.mu.Unlock()
	changed := c.ready != ready
	if changed {
		c.since = c.registry.now()
	}
	c.ready, c.detail = ready, detail
	return changed
}

// Status is the state of one component, as /readyz shows it.
type Status struct {
	Name   string    `json:"name"`
	Ready  bool      `json:"ready"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since"` // of the last change between ready and not
}

// Status returns whether all components are ready, and the state of each.
func (r *Registry) Status() (ready bool, components []Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready, components = true, make([]Status, 0, len(r.components))
	for _, c := range r.components {
		ready = ready && c.ready
		components = append(components, Status{Name: c.name, Ready: c.ready, Detail: c.detail, Since: c.since.UTC()})
	}
	return ready, components
}

// Readyz answers 200 if all components are ready and 503 otherwise, with the state of
// each as JSON.
func (r *Registry) Readyz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ready, components := r.Status()
		status := http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]any{"ready": ready, "components": components})
	})
}

// Livez answers 200 as long as the process serves requests: a process that waits for
// a database must not be restarted for that.
func (r *Registry) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"live": true})
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client hung up
}
