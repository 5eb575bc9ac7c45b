package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Answer is what came of one call.
type Answer struct {
	Code         string  `json:"code"`
	Replica      string  `json:"replica"`
	Milliseconds float64 `json:"milliseconds"`
}

func call(arguments []string) {
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	certs := flags.String("certs", "", "directory of the certificate; empty: plaintext")
	serverName := flags.String("server-name", "ping", "name in the certificates of the servers")
	config := flags.String("config", "{}", "service config")
	request := flags.String("request", "", "a PingRequest, in hexadecimal")
	count := flags.Int("count", 1, "calls, one after another")
	pause := flags.Duration("pause", 0, "between two calls")
	flags.Parse(arguments)

	endpoints := manual.NewBuilderWithScheme("test")
	var addresses []resolver.Address
	for _, address := range flags.Args() {
		addresses = append(addresses, resolver.Address{Addr: address})
	}
	endpoints.InitialState(resolver.State{Addresses: addresses})
	connection, err := grpc.NewClient("test:///ping",
		grpc.WithResolvers(endpoints),
		grpc.WithTransportCredentials(transport(*certs, *serverName)),
		grpc.WithDefaultServiceConfig(*config))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	message := new(emptypb.Empty)
	raw, err := hex.DecodeString(*request)
	if err != nil {
		log.Fatal(err)
	}
	message.ProtoReflect().SetUnknown(raw)
	lines := json.NewEncoder(os.Stdout)
	for range *count {
		lines.Encode(one(connection, message))
		time.Sleep(*pause)
	}
}

func one(connection *grpc.ClientConn, request *emptypb.Empty) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, begun := new(emptypb.Empty), time.Now()
	err := connection.Invoke(ctx, "/mesh.testing.PingService/Ping", request, answer)
	return Answer{
		Code:         status.Code(err).String(),
		Replica:      strings(answer.ProtoReflect().GetUnknown())[replicaField],
		Milliseconds: float64(time.Since(begun).Microseconds()) / 1000,
	}
}
