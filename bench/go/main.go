// The comparison program: what a form backend costs in Go's standard library when nothing is validated, no rule runs and
// nothing is durable. Each POST is decoded into a map, kept in a sync.Map under a new id, and answered 201 {"id": …}.
//
// Started by `formledger-bench compare`. Everything that could slow it down is left out on purpose, in its favour: ids are
// a counter, nothing is logged, no route is matched.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// bodyBytesMax is the largest body that is read; a larger one is answered 400.
const bodyBytesMax = 1 << 20

type store struct {
	submissions sync.Map
	lastID      atomic.Uint64
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var submission map[string]any
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax)).Decode(&submission); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := strconv.FormatUint(s.lastID.Add(1), 10)
	s.submissions.Store(id, submission)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(map[string]string{"id": id}); err != nil {
		log.Printf("answering: %v", err)
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; port 0 picks one")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, &store{}))
}
