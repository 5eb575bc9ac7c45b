import io.grpc.MethodDescriptor;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.WireFormat;

/** mesh.testing.PingService/Ping without its generated code. */
final class Ping {
  /** The number of the field of PingResponse that names the server. */
  private static final int REPLICA = 2;

  static final MethodDescriptor<byte[], byte[]> METHOD =
      MethodDescriptor.<byte[], byte[]>newBuilder()
          .setType(MethodDescriptor.MethodType.UNARY)
          .setFullMethodName("mesh.testing.PingService/Ping")
          .setRequestMarshaller(new Bytes())
          .setResponseMarshaller(new Bytes())
          .build();

  /** Returns a PingResponse that names this server. */
  static byte[] response(String replica) {
    byte[] message = new byte[CodedOutputStream.computeStringSize(REPLICA, replica)];
    try {
      CodedOutputStream.newInstance(message).writeString(REPLICA, replica);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return message;
  }

  /** Returns the name of the server in a PingResponse. */
  static String replica(byte[] response) throws IOException {
    CodedInputStream in = CodedInputStream.newInstance(response);
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      if (WireFormat.getTagFieldNumber(tag) == REPLICA) {
        return in.readString();
      }
      in.skipField(tag);
    }
    return "";
  }

  private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
