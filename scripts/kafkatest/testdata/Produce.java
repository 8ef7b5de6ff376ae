import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces with Kafka's own client what standard input says, a command a line,
 * and answers each with "ok":
 *
 * open NAME=VALUE ...          a new producer, with these settings
 * begin, commit, abort         a transaction
 * send TOPIC PARTITION KEY HEX a record; sent when it suits the producer
 * flush                        until all that was sent is acknowledged
 * close
 */
public final class Produce {
    private static KafkaProducer<byte[], byte[]> producer;
    private static final List<Future<RecordMetadata>> sent = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            run(line.split(" "));
            System.out.println("ok");
        }
    }

    private static void run(String[] words) throws Exception {
        switch (words[0]) {
            case "open" -> open(words);
            case "begin" -> producer.beginTransaction();
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            case "send" -> sent.add(producer.send(new ProducerRecord<>(
                    words[1], Integer.parseInt(words[2]),
                    words[3].getBytes(StandardCharsets.UTF_8), HexFormat.of().parseHex(words[4]))));
            case "flush" -> flush();
            case "close" -> producer.close();
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private static void open(String[] words) {
        Properties settings = new Properties();
        for (int i = 1; i < words.length; i++) {
            int at = words[i].indexOf('=');
            settings.put(words[i].substring(0, at), words[i].substring(at + 1));
        }
        producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        if (settings.containsKey("transactional.id")) {
            producer.initTransactions();
        }
    }

    private static void flush() throws Exception {
        producer.flush();
        for (Future<RecordMetadata> one : sent) {
            one.get();
        }
        sent.clear();
    }
}
