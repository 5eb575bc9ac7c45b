import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.ServerBuilder;
import io.grpc.ServerCredentials;
import io.grpc.ServerServiceDefinition;
import io.grpc.TlsServerCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.services.MetricRecorder;
import io.grpc.stub.ServerCalls;
import io.grpc.xds.orca.OrcaMetricReportingServerInterceptor;
import io.grpc.xds.orca.OrcaServiceImpl;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** A server that reports its load as grpc-java does: in trailers, and out of band. */
final class Serve {
  static void run(JavaPeer.Flags flags) throws Exception {
    ScheduledExecutorService timers = Executors.newSingleThreadScheduledExecutor();
    double utilization = Double.parseDouble(flags.get("utilization", "0"));
    MetricRecorder metrics = MetricRecorder.newInstance();
    metrics.setApplicationUtilizationMetric(utilization);
    metrics.setQpsMetric(100);
    ServerBuilder<?> builder =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0), credentials(flags))
            .addService(ping(flags.get("replica", "java-1")))
            .addService(new HealthStatusManager().getHealthService());
    if (utilization > 0) {
      builder.intercept(OrcaMetricReportingServerInterceptor.create(metrics));
    }
    if (flags.says("mesh-load")) {
      builder.intercept(new MeshLoad());
    }
    if (flags.says("oob")) {
      builder.addService(
          OrcaServiceImpl.createService(timers, metrics, 100, TimeUnit.MILLISECONDS));
    }
    Server server = builder.build().start();
    System.out.println(server.getPort());
    System.in.readAllBytes();
    server.shutdownNow().awaitTermination();
    timers.shutdownNow();
  }

  private static ServerServiceDefinition ping(String replica) {
    return ServerServiceDefinition.builder("mesh.testing.PingService")
        .addMethod(
            Ping.METHOD,
            ServerCalls.asyncUnaryCall(
                (request, responses) -> {
                  responses.onNext(Ping.response(replica));
                  responses.onCompleted();
                }))
        .build();
  }

  private static ServerCredentials credentials(JavaPeer.Flags flags) throws IOException {
    if (flags.certificate("tls.crt") == null) {
      return InsecureServerCredentials.create();
    }
    return TlsServerCredentials.newBuilder()
        .keyManager(flags.certificate("tls.crt"), flags.certificate("tls.key"))
        .trustManager(flags.certificate("ca.crt"))
        .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
        .build();
  }
}
