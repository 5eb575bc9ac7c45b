import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.reflect.TypeToken;
import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.EquivalentAddressGroup;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusOr;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.ClientCalls;
import java.io.IOException;
import java.lang.reflect.Type;
import java.net.InetSocketAddress;
import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Calls of one channel over given endpoints, one after another. */
final class Call {
  static void run(JavaPeer.Flags flags) throws Exception {
    NameResolverRegistry.getDefaultRegistry().register(new Given(flags.addresses));
    Type map = new TypeToken<Map<String, Object>>() {}.getType();
    Map<String, ?> config = new Gson().fromJson(flags.get("config", "{}"), map);
    ManagedChannel channel =
        Grpc.newChannelBuilder("given:///ping", credentials(flags))
            .overrideAuthority(flags.get("server-name", "ping"))
            .defaultServiceConfig(config)
            .build();
    try {
      for (int i = Integer.parseInt(flags.get("count", "1")); i > 0; i--) {
        System.out.println(one(channel));
        Thread.sleep(Integer.parseInt(flags.get("pause", "0ms").replace("ms", "")));
      }
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private static JsonObject one(ManagedChannel channel) throws IOException {
    JsonObject answer = new JsonObject();
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS);
    try {
      byte[] response = ClientCalls.blockingUnaryCall(channel, Ping.METHOD, options, new byte[0]);
      answer.addProperty("replica", Ping.replica(response));
      answer.addProperty("code", "OK");
    } catch (StatusRuntimeException e) {
      answer.addProperty("code", e.getStatus().getCode().name());
      answer.addProperty("message", e.getStatus().toString());
    }
    return answer;
  }

  private static ChannelCredentials credentials(JavaPeer.Flags flags) throws IOException {
    if (flags.certificate("tls.crt") == null) {
      return InsecureChannelCredentials.create();
    }
    return TlsChannelCredentials.newBuilder()
        .keyManager(flags.certificate("tls.crt"), flags.certificate("tls.key"))
        .trustManager(flags.certificate("ca.crt"))
        .build();
  }

  /** Resolves given:///anything to the addresses of the command line. */
  private static final class Given extends NameResolverProvider {
    private final List<EquivalentAddressGroup> addresses;

    Given(List<String> addresses) {
      this.addresses =
          addresses.stream().map(Given::address).map(EquivalentAddressGroup::new).toList();
    }

    private static InetSocketAddress address(String text) {
      String[] parts = text.split(":");
      return new InetSocketAddress(parts[0], Integer.parseInt(parts[1]));
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args arguments) {
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return "ping";
        }

        @Override
        public void start(Listener2 listener) {
          listener.onResult(
              ResolutionResult.newBuilder()
                  .setAddressesOrError(StatusOr.fromValue(addresses))
                  .build());
        }

        @Override
        public void shutdown() {}
      };
    }

    @Override
    public String getDefaultScheme() {
      return "given";
    }

    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }
  }
}
