// Peers made with Go's gRPC library, to see what it and the mesh understand of each other.
//
//	goserver serve FLAGS          serves, with Go's default enforcement of keepalive, prints its port, and ends
//	                              when its standard input does
//	goserver call FLAGS ADDRESS…  calls mesh.testing.PingService over these endpoints, and prints an Answer for
//	                              each call, one JSON object a line
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"os"
	"path/filepath"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: goserver serve|call FLAGS")
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "call":
		call(os.Args[2:])
	default:
		log.Fatalf("no such command: %s", os.Args[1])
	}
}

// transport returns mutual TLS with the tls.crt, tls.key and ca.crt of a directory; plaintext without one.
func transport(directory, serverName string) credentials.TransportCredentials {
	if directory == "" {
		return insecure.NewCredentials()
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(directory, "ca.crt"))
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	return credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   serverName,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	})
}
