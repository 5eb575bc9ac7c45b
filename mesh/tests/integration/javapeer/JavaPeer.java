import java.io.File;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Peers made with Java's gRPC library, to see what it and the mesh understand of each other.
 *
 * <pre>
 * JavaPeer serve FLAGS          serves, prints its port, and ends when its standard input does
 * JavaPeer call FLAGS ADDRESS…  calls mesh.testing.PingService over these endpoints, and prints the code and
 *                               the replica of each call, one JSON object a line
 * </pre>
 *
 * Flags are {@code -name=value}, as those of the Go program beside it.
 */
public final class JavaPeer {
  public static void main(String[] arguments) throws Exception {
    String command = arguments.length > 0 ? arguments[0] : "";
    Flags flags = new Flags(arguments);
    switch (command) {
      case "serve" -> Serve.run(flags);
      case "call" -> Call.run(flags);
      default -> throw new IllegalArgumentException("usage: JavaPeer serve|call FLAGS");
    }
  }

  /** The arguments behind the command. */
  static final class Flags {
    private final Map<String, String> values = new HashMap<>();
    final List<String> addresses = new ArrayList<>();

    Flags(String[] arguments) {
      for (String argument : arguments) {
        if (argument.startsWith("-")) {
          String[] parts = argument.substring(1).split("=", 2);
          values.put(parts[0], parts[1]);
        } else if (argument != arguments[0]) {
          addresses.add(argument);
        }
      }
    }

    String get(String name, String otherwise) {
      return values.getOrDefault(name, otherwise);
    }

    boolean says(String name) {
      return Boolean.parseBoolean(values.get(name));
    }

    /** A file of the certificate's directory; null where there is none, and so plaintext. */
    File certificate(String file) {
      return values.containsKey("certs") ? new File(values.get("certs"), file) : null;
    }
  }
}
