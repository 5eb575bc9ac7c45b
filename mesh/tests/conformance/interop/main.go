// The interop tests of grpc-go with certificates of a mesh: its own client has no flag for a client certificate.
//
//	interop server     DIRECTORY         prints its port, and ends when its standard input does
//	interop client     DIRECTORY ADDRESS NAME CASE...      (cases orca_* in a process of their own)
//	interop protos                       writes the descriptors of the test service, for other languages
//
// DIRECTORY holds tls.crt, tls.key and ca.crt; NAME is the DNS name in the server's certificate.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("interop: server, client or protos?")
	}
	switch os.Args[1] {
	case "server":
		serve(os.Args[2])
	case "client":
		call(os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	case "protos":
		describe()
	default:
		log.Fatalf("interop: %q is unknown", os.Args[1])
	}
}

func identity(directory string) *tls.Config {
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	check(err)
	bundle, err := os.ReadFile(filepath.Join(directory, "ca.crt"))
	check(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		log.Fatal("interop: ca.crt holds no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS13,
	}
}

func serve(directory string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(identity(directory))), orca.CallMetricsServerOption(nil))
	load := orca.NewServerMetricsRecorder()
	check(orca.Register(server, orca.ServiceOptions{ServerMetricsProvider: load}))
	reporting := interop.NewTestServerOptions{MetricsRecorder: load}
	grpc_testing.RegisterTestServiceServer(server, interop.NewTestServer(reporting))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	check(server.Serve(listener))
}

func call(directory, address, name string, cases []string) {
	config := identity(directory)
	config.ServerName = name
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if strings.HasPrefix(cases[0], "orca_") { // the policy of the package that keeps the reports for its tests
		const policy = `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`
		options = append(options, grpc.WithDefaultServiceConfig(policy))
	}
	dial := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(address, options...)
		check(err)
		return conn
	}
	conn := dial()
	defer conn.Close()
	for _, one := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		run(ctx, one, conn, dial, address)
		cancel()
		fmt.Println(one)
	}
}

// run ends the process where the case fails, as the functions of the package do.
func run(ctx context.Context, one string, conn *grpc.ClientConn, dial func() *grpc.ClientConn, address string) {
	client := grpc_testing.NewTestServiceClient(conn)
	plain := map[string]func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption){
		"empty_unary":                 interop.DoEmptyUnaryCall,
		"large_unary":                 interop.DoLargeUnaryCall,
		"client_streaming":            interop.DoClientStreaming,
		"server_streaming":            interop.DoServerStreaming,
		"ping_pong":                   interop.DoPingPong,
		"empty_stream":                interop.DoEmptyStream,
		"timeout_on_sleeping_server":  interop.DoTimeoutOnSleepingServer,
		"cancel_after_begin":          interop.DoCancelAfterBegin,
		"cancel_after_first_response": interop.DoCancelAfterFirstResponse,
		"custom_metadata":             interop.DoCustomMetadata,
		"status_code_and_message":     interop.DoStatusCodeAndMessage,
		"special_status_message":      interop.DoSpecialStatusMessage,
	}
	if do, known := plain[one]; known {
		do(ctx, client)
		return
	}
	zipped := grpc.UseCompressor(gzip.Name)
	switch one {
	case "unimplemented_method":
		interop.DoUnimplementedMethod(ctx, conn)
	case "unimplemented_service":
		interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(conn))
	case "orca_per_rpc":
		interop.DoORCAPerRPCTest(ctx, client)
	case "orca_oob":
		interop.DoORCAOOBTest(ctx, client)
	case "compressed_unary":
		interop.DoLargeUnaryCall(ctx, client, zipped)
	case "compressed_streams":
		interop.DoClientStreaming(ctx, client, zipped)
		interop.DoServerStreaming(ctx, client, zipped)
		interop.DoPingPong(ctx, client, zipped)
	case "rpc_soak":
		soak(ctx, address, func() (*grpc.ClientConn, func()) { return conn, func() {} })
	case "channel_soak":
		soak(ctx, address, func() (*grpc.ClientConn, func()) {
			fresh := dial()
			return fresh, func() { fresh.Close() }
		})
	default:
		log.Fatalf("interop: the case %q is unknown", one)
	}
}

func soak(ctx context.Context, address string, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize:                      271828,
		ResponseSize:                     314159,
		PerIterationMaxAcceptableLatency: 30 * time.Second, // machines are shared: no timing as an absolute
		OverallTimeout:                   50 * time.Second,
		ServerAddr:                       address,
		NumWorkers:                       4,
		Iterations:                       100,
		ChannelForTest:                   channel,
	})
}

// describe writes the file of the service after those that it imports.
func describe() {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		described := protodesc.ToFileDescriptorProto(file)
		described.Name = proto.String(rename(described.GetName()))
		for i, name := range described.Dependency {
			described.Dependency[i] = rename(name)
		}
		set.File = append(set.File, described)
	}
	add(grpc_testing.File_grpc_testing_test_proto)
	data, err := proto.Marshal(set)
	check(err)
	_, err = os.Stdout.Write(data)
	check(err)
}

// rename moves a file out of grpc/: in Python that is the package of grpcio.
func rename(name string) string {
	return strings.Replace(name, "grpc/testing/", "interop/", 1)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
