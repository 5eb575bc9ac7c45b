package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Numbers of the fields of PingRequest and PingResponse.
const (
	replicaField  = 2
	failCodeField = 4
	pushbackField = 7
)

func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	certs := flags.String("certs", "", "directory of the certificate; empty: plaintext")
	replica := flags.String("replica", "go-1", "name told in each answer")
	utilization := flags.Float64("utilization", 0, "reported load; 0: none is reported")
	outOfBand := flags.Bool("oob", false, "serve the load reports out of band")
	flags.Parse(arguments)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	metrics := orca.NewServerMetricsRecorder()
	metrics.SetApplicationUtilization(*utilization)
	metrics.SetQPS(100)
	options := []grpc.ServerOption{grpc.Creds(transport(*certs, ""))}
	if *utilization > 0 {
		options = append(options, orca.CallMetricsServerOption(metrics))
	}
	server := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	server.RegisterService(ping(*replica), nil)
	if *outOfBand {
		reports := orca.ServiceOptions{ServerMetricsProvider: metrics, MinReportingInterval: 100 * time.Millisecond}
		if err := orca.Register(server, reports); err != nil {
			log.Fatal(err)
		}
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// ping is mesh.testing.PingService/Ping without its generated code: the fields that matter are read and
// written as fields that protobuf does not know.
func ping(replica string) *grpc.ServiceDesc {
	handler := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(emptypb.Empty)
		if err := decode(request); err != nil {
			return nil, err
		}
		fields := strings(request.ProtoReflect().GetUnknown())
		if pushback, there := fields[pushbackField]; there {
			grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", pushback))
		}
		if name := fields[failCodeField]; name != "" {
			var code codes.Code
			if err := code.UnmarshalJSON([]byte(`"` + name + `"`)); err != nil {
				return nil, err
			}
			return nil, status.Error(code, "told to fail")
		}
		return withString(replicaField, replica), nil
	}
	return &grpc.ServiceDesc{
		ServiceName: "mesh.testing.PingService",
		Methods:     []grpc.MethodDesc{{MethodName: "Ping", Handler: handler}},
		HandlerType: (*any)(nil),
	}
}

// strings returns the fields of a message that are strings, by number.
func strings(message []byte) map[protowire.Number]string {
	found := map[protowire.Number]string{}
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return found
		}
		message = message[tag:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return found
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeString(message)
			found[number] = value
		}
		message = message[size:]
	}
	return found
}

// withString returns a message of one string.
func withString(number protowire.Number, text string) *emptypb.Empty {
	message := new(emptypb.Empty)
	field := protowire.AppendTag(nil, number, protowire.BytesType)
	message.ProtoReflect().SetUnknown(protowire.AppendString(field, text))
	return message
}
