package integration_test

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"
)

// changes is a stream of changes as the API has it.
type changes struct {
	mu      sync.Mutex
	streams map[chan string]string // with the address's query
	opened  int                    // since the beginning
	full    bool                   // further ones are refused
	refused int                    // since the beginning
	ids     int
}

// register adds what the page's scripts ask the API for.
func (s *shownOrders) register(r gin.IRouter) {
	r.GET("/api/v1/orders/stream", s.changes.serve)
	r.GET("/api/v1/export", func(c *gin.Context) { // waits for a test, or breaks off
		_, _ = c.Writer.WriteString("{\"order_uid\":\"a\"}\n{\"order_uid\":")
		c.Writer.Flush()
		if !<-s.export {
			panic(http.ErrAbortHandler)
		}
		_, _ = c.Writer.WriteString("\"b\"}\n")
	})
	r.GET("/api/v1/suggest", func(c *gin.Context) {
		found, err := s.Suggest(c.Request.Context(), c.Query("q"), true)
		if err != nil {
			c.Status(http.StatusServiceUnavailable)
			return
		}
		list := []gin.H{}
		for _, suggestion := range found {
			list = append(list, gin.H{"kind": suggestion.Kind, "value": suggestion.Value, "orders": suggestion.Orders})
		}
		c.JSON(http.StatusOK, gin.H{"suggestions": list})
	})
}

func (s *changes) serve(c *gin.Context) {
	events := make(chan string, 4096)
	s.mu.Lock()
	if s.full {
		s.refused++
		s.mu.Unlock()
		c.Status(http.StatusServiceUnavailable)
		return
	}
	if s.streams == nil {
		s.streams = map[chan string]string{}
	}
	s.streams[events] = c.Request.URL.RawQuery
	s.opened++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, events)
	}()
	c.Header("Content-Type", "text/event-stream")
	c.Status(http.StatusOK)
	_, _ = c.Writer.WriteString("retry: 20\nid: 0\n\n")
	c.Writer.Flush()
	for {
		select {
		case <-c.Request.Context().Done():
			return
		case event, open := <-events:
			if !open {
				return
			}
			_, _ = c.Writer.WriteString(event)
			c.Writer.Flush()
		}
	}
}

// tell sends an event to all streams.
func (s *changes) tell(event, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	for events := range s.streams {
		events <- fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", s.ids, event, data)
	}
}

// cut ends all streams, as a service that stops does.
func (s *changes) cut(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
	for events := range s.streams {
		close(events)
		delete(s.streams, events)
	}
}

// open gives the queries of the streams that are open.
func (s *changes) open() (queries []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, query := range s.streams {
		queries = append(queries, query)
	}
	return queries
}

// count is how many streams there have been, and how many were refused.
func (s *changes) count() (opened, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened, s.refused
}
