import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.*;
import java.net.*;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.*;

/**
 * A consumer of Redis Streams that loses nothing, without any library: `java Consumer.java`, with the variables below.
 * Why it does each of these things is said in ../python/consumer.py. It speaks to redis://[user:password@]host[:port].
 */
public class Consumer {
    static final Map<String, String> ENV = System.getenv();
    static final String GROUP = ENV.get("SHOPBENCH_GROUP"), ME = ENV.get("SHOPBENCH_CONSUMER");
    static final String[] STREAMS = ENV.get("SHOPBENCH_STREAMS").split(" ");
    static final String CLAIM_MS = ENV.get("SHOPBENCH_CLAIM_MS"), PAGE = ENV.get("SHOPBENCH_PAGE");
    static final int TIMEOUT_MS = 5000, ATTEMPTS = 3;
    static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    static volatile boolean stopping;
    static long pauseMs = 50;

    /** A connection: a command is an array of strings; its reply a String, a Long, a List, or null. */
    static class Redis implements Closeable {
        final Socket socket = new Socket();
        final InputStream in;

        Redis(URI url) throws IOException {
            var port = url.getPort() < 0 ? 6379 : url.getPort();
            socket.connect(new InetSocketAddress(url.getHost(), port), TIMEOUT_MS);
            socket.setSoTimeout(TIMEOUT_MS);
            in = new BufferedInputStream(socket.getInputStream());
            var user = url.getUserInfo() == null ? new String[0] : url.getUserInfo().split(":", 2);
            if (user.length == 2) call("AUTH", user[0].isEmpty() ? "default" : user[0], user[1]);
        }

        Object call(String... words) throws IOException {
            var command = new ByteArrayOutputStream();
            command.writeBytes(("*" + words.length + "\r\n").getBytes(UTF_8));
            for (var word : words) {
                var bytes = word.getBytes(UTF_8);
                command.writeBytes(("$" + bytes.length + "\r\n").getBytes(UTF_8));
                command.writeBytes(bytes);
                command.writeBytes("\r\n".getBytes(UTF_8));
            }
            socket.getOutputStream().write(command.toByteArray());
            return reply();
        }

        Object reply() throws IOException {
            var line = new ByteArrayOutputStream();
            for (int each = in.read(); each != '\r'; each = in.read()) {
                if (each < 0) throw new EOFException("the server has closed the connection");
                line.write(each);
            }
            in.skipNBytes(1);
            var rest = line.toString(UTF_8).substring(1);
            switch (line.toString(UTF_8).charAt(0)) {
                case '-':
                    throw new IOException(rest);
                case ':':
                    return Long.valueOf(rest);
                case '$':
                    if (rest.equals("-1")) return null;
                    var bytes = in.readNBytes(Integer.parseInt(rest));
                    in.skipNBytes(2);
                    return new String(bytes, UTF_8);
                case '*':
                    if (rest.equals("-1")) return null;
                    var all = new ArrayList<Object>();
                    for (int left = Integer.parseInt(rest); left > 0; left--) all.add(reply());
                    return all;
                default:
                    return rest;
            }
        }

        public void close() throws IOException {
            socket.close();
        }
    }

    @SuppressWarnings("unchecked")
    static List<Object> list(Object reply) {
        return reply == null ? List.of() : (List<Object>) reply;
    }

    /** XREADGROUP of some streams, each from its own pending entries ("0") or for new ones (">"): [stream, entries]. */
    static List<Object> read(Redis redis, String blockMs, String from, String... streams) throws IOException {
        var words = new ArrayList<>(List.of("XREADGROUP", "GROUP", GROUP, ME, "COUNT", PAGE, "BLOCK", blockMs, "STREAMS"));
        words.addAll(List.of(streams));
        words.addAll(Collections.nCopies(streams.length, from));
        return list(redis.call(words.toArray(String[]::new)));
    }

    /** Have the effects of some events; false: one of them is refused for good. Anything else is an error. */
    static boolean hasEffects(List<String> ids) throws IOException, InterruptedException {
        var body = HttpRequest.BodyPublishers.ofString(String.join("\n", ids)); // text: an ID a line
        var request = HttpRequest.newBuilder(URI.create(ENV.get("SHOPBENCH_EFFECTS"))).POST(body)
            .header("Content-Type", "text/plain").timeout(Duration.ofMillis(TIMEOUT_MS)).build();
        int status = HTTP.send(request, BodyHandlers.discarding()).statusCode();
        if (status != 200 && status != 422) throw new IOException("the sink answers " + status);
        return status == 200;
    }

    /** Have the effects of a page, and then acknowledge it; if one is refused, go one by one. */
    static void handle(Redis redis, String stream, List<Object> entries) throws IOException, InterruptedException {
        var events = new LinkedHashMap<String, List<Object>>(); // fields, by the event's ID
        var ack = new ArrayList<>(List.of("XACK", stream, GROUP));
        for (var entry : entries) {
            ack.add((String) list(entry).get(0));
            var fields = list(list(entry).get(1)); // none: trimmed while it was pending
            int at = fields.indexOf("event_id");
            if (at >= 0) events.put((String) fields.get(at + 1), fields);
        }
        if (!events.isEmpty() && !hasEffects(List.copyOf(events.keySet()))) {
            for (var event : events.entrySet()) {
                int attempts = ATTEMPTS;
                while (attempts > 0 && !hasEffects(List.of(event.getKey()))) attempts--;
                var park = new ArrayList<Object>(List.of("XADD", stream + ":parked", "*"));
                park.addAll(event.getValue());
                if (attempts == 0) redis.call(park.toArray(String[]::new));
            }
        }
        if (!entries.isEmpty()) redis.call(ack.toArray(String[]::new));
        pauseMs = 50;
    }

    /** Own pending entries first; then new ones and, now and then, what others have left. */
    static void consume(Redis redis) throws IOException, InterruptedException {
        for (var stream : STREAMS) {
            try {
                redis.call("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM");
            } catch (IOException error) {
                if (!error.getMessage().startsWith("BUSYGROUP")) throw error;
            }
            for (var own = List.of(new Object()); !own.isEmpty() && !stopping; ) {
                own = list(list(read(redis, "1", "0", stream).get(0)).get(1));
                handle(redis, stream, own);
            }
        }
        for (long claimAt = 0; !stopping; ) {
            for (var stream : System.currentTimeMillis() < claimAt ? new String[0] : STREAMS) {
                for (var from = ""; !from.equals("0-0") && !stopping; ) {
                    var start = from.isEmpty() ? "0-0" : from;
                    var claimed = list(redis.call("XAUTOCLAIM", stream, GROUP, ME, CLAIM_MS, start, "COUNT", PAGE));
                    handle(redis, stream, list(claimed.get(1)));
                    from = (String) claimed.get(0);
                }
                claimAt = System.currentTimeMillis() + Long.parseLong(CLAIM_MS) / 2;
            }
            for (var page : read(redis, "200", ">", STREAMS))
                handle(redis, (String) list(page).get(0), list(list(page).get(1)));
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        var main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { // SIGTERM: what is in hand is finished
            stopping = true;
            try {
                main.join();
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }));
        while (!stopping) { // after any error all of it begins anew, on a new connection
            try (var redis = new Redis(URI.create(ENV.get("SHOPBENCH_REDIS_URL")))) {
                consume(redis);
            } catch (IOException error) {
                System.err.println("again in " + pauseMs + " ms: " + error);
                Thread.sleep(pauseMs);
                pauseMs = Math.min(2 * pauseMs, 1000);
            }
        }
    }
}
