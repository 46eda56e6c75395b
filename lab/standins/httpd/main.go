// A small HTTP server that stands in for a web application whose image cannot be had here.
//
//	httpd -listen :3000 -text "fcdemo, a stand-in of the lab"
//
// Every request is answered with the text and the name of the host (in a pod: the pod's name).
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "address to listen on")
	text := flag.String("text", "a stand-in of the lab", "first line of each answer")
	flag.Parse()
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s\nhost: %s\n", *text, host)
	})
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		<-stop.Done()
		deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(deadline)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-answered
}
