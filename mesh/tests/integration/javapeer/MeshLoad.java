import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;

/**
 * Sends the load report of each answer under a second key, too, for clients in Python: C-core keeps the
 * first one to itself. To be added after OrcaMetricReportingServerInterceptor.
 */
final class MeshLoad implements ServerInterceptor {
  private static final Metadata.Key<byte[]> STANDARD =
      Metadata.Key.of("endpoint-load-metrics-bin", Metadata.BINARY_BYTE_MARSHALLER);
  private static final Metadata.Key<byte[]> OURS =
      Metadata.Key.of("mesh-load-bin", Metadata.BINARY_BYTE_MARSHALLER);

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    return next.startCall(
        new SimpleForwardingServerCall<>(call) {
          @Override
          public void close(Status status, Metadata trailers) {
            byte[] report = trailers.get(STANDARD);
            if (report != null) {
              trailers.put(OURS, report);
            }
            super.close(status, trailers);
          }
        },
        headers);
  }
}
