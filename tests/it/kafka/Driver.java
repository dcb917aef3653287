import java.nio.charset.StandardCharsets;
import java.io.*;
import java.util.*;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.*;
import org.apache.kafka.common.header.internals.*;
import org.apache.kafka.common.serialization.*;

/**
 * The other side of the tests: Kafka's own client, which shares no code with the engine. One command a line on standard input, fields
 * separated by tabs; one line of answer each, "ok ..." or "error ...".
 */
class Driver {
    static Admin admin;
    static Producer<byte[], byte[]> plain;
    static final Map<String, Producer<byte[], byte[]>> transactional = new HashMap<>();
    static String servers;

    public static void main(String[] args) throws IOException {
        servers = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", servers));
        plain = producer(Map.of());
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        System.out.println("ok ready");
        for (String line; (line = in.readLine()) != null; ) {
            String answer;
            try {
                answer = "ok " + run(line.split("\t", -1));
            } catch (Exception e) {
                Throwable cause = e.getCause() == null ? e : e.getCause();
                answer = "error " + cause.toString().replace('\n', ' ');
            }
            System.out.println(answer);
        }
        System.exit(0);
    }

    static Producer<byte[], byte[]> producer(Map<String, Object> more) {
        var settings = new HashMap<String, Object>(more);
        settings.put("bootstrap.servers", servers);
        settings.putIfAbsent("max.block.ms", "20000");
        settings.put("metadata.max.age.ms", "1000");
        // A partition just made may refuse the first batch and take the second, which is on its way; the first is then out of order for ever.
        settings.put("max.in.flight.requests.per.connection", "1");
        settings.putIfAbsent("compression.type", "lz4");
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static byte[] bytes(String field) {
        return field.equals("-") ? null : field.replace("\\n", "\n").getBytes(StandardCharsets.UTF_8);
    }

    static String run(String[] words) throws Exception {
        switch (words[0]) {
            case "create": // topic, partitions, settings as k=v
                var topic = new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1);
                var settings = new HashMap<String, String>();
                for (int at = 3; at < words.length; at++) settings.put(words[at].split("=")[0], words[at].split("=")[1]);
                createSoon(topic.configs(settings));
                waitForLeaders(words[1], Integer.parseInt(words[2]));
                return "";
            case "assign": // topic, the broker of each partition
                var homes = new HashMap<Integer, List<Integer>>();
                for (int at = 2; at < words.length; at++) homes.put(at - 2, List.of(Integer.parseInt(words[at])));
                admin.createTopics(List.of(new NewTopic(words[1], homes))).all().get();
                waitForLeaders(words[1], homes.size());
                return "";
            case "leaders": // topic, partitions: waits until each has a leader
                waitForLeaders(words[1], Integer.parseInt(words[2]));
                return "";
            case "delete": // topic
                admin.deleteTopics(List.of(words[1])).all().get();
                // The name is free again only after a while.
                for (int tries = 0; admin.listTopics().names().get().contains(words[1]) && tries < 200; tries++) Thread.sleep(20);
                return "";
            case "partitions": // topic, how many in all
                admin.createPartitions(Map.of(words[1], NewPartitions.increaseTo(Integer.parseInt(words[2])))).all().get();
                waitForLeaders(words[1], Integer.parseInt(words[2]));
                return "";
            case "expire": // topic, partition, first offset that stays
                var partition = new TopicPartition(words[1], Integer.parseInt(words[2]));
                admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(Long.parseLong(words[3])))).all().get();
                return "";
            case "committed": // group
                var committed = new TreeMap<String, Long>();
                admin.listConsumerGroupOffsets(words[1]).partitionsToOffsetAndMetadata().get()
                    .forEach((at, offset) -> committed.put(at.toString(), offset.offset()));
                return committed.toString();
            case "end": // topic with one partition: its end, what is not committed included
                var only = new TopicPartition(words[1], 0);
                return String.valueOf(admin.listOffsets(Map.of(only, OffsetSpec.latest())).all().get().get(only).offset());
            case "forget": // group
                admin.deleteConsumerGroups(List.of(words[1])).all().get();
                return "";
            case "occupy": // group, topic, offset in its first partition
                var place = Map.of(new TopicPartition(words[2], 0), new OffsetAndMetadata(Long.parseLong(words[3])));
                admin.alterConsumerGroupOffsets(words[1], place).all().get();
                return "";
            case "send": // transactional id or -, topic, partition, time or -, key, value, headers as k=v
                return String.valueOf(send(words));
            case "fill": // topic, partitions, rows in all, first id
                int partitions = Integer.parseInt(words[2]);
                long first = Long.parseLong(words[4]);
                var sent = new ArrayList<Future<RecordMetadata>>();
                for (long id = first; id < first + Long.parseLong(words[3]); id++) {
                    var value = ("{\"id\":" + id + "}").getBytes(StandardCharsets.UTF_8);
                    sent.add(plain.send(new ProducerRecord<>(words[1], (int) (id % partitions), null, value)));
                }
                for (var one : sent) one.get();
                return "";
            case "load": // topic, partitions, a file or a folder of them: each line a message, 512 of them to each partition by turns
                return String.valueOf(load(words[1], Integer.parseInt(words[2]), new File(words[3])));
            case "read": // topic: every committed message as partition|key|value|headers, or with a further word |timestamp
                var found = new StringJoiner("\t");
                read(words[1], words.length > 2, found::add);
                return found.toString();
            case "drain": // topic, file: each of them on a line of the file; how many
                try (var out = new PrintWriter(new BufferedWriter(new FileWriter(words[2], StandardCharsets.UTF_8), 1 << 20))) {
                    return String.valueOf(read(words[1], false, out::println));
                }
            case "place": // key, partitions: where a producer sends it that is told no partition
                return String.valueOf(BuiltInPartitioner.partitionForKey(bytes(words[1]), Integer.parseInt(words[2])));
            case "begin": // transactional id
                transactional.computeIfAbsent(words[1], id -> {
                    var made = producer(Map.of("transactional.id", id));
                    made.initTransactions();
                    return made;
                }).beginTransaction();
                return "";
            case "commit": transactional.get(words[1]).commitTransaction(); return "";
            case "abort": transactional.get(words[1]).abortTransaction(); return "";
            default: throw new IllegalArgumentException("unknown command " + words[0]);
        }
    }

    /** A broker that was too busy to say that it lives is given time to say so. */
    static void createSoon(NewTopic topic) throws Exception {
        for (int tries = 0; ; tries++) {
            try {
                admin.createTopics(List.of(topic)).all().get();
                return;
            } catch (java.util.concurrent.ExecutionException e) {
                if (tries == 100 || !(e.getCause() instanceof org.apache.kafka.common.errors.InvalidReplicationFactorException)) throw e;
                Thread.sleep(100);
            }
        }
    }

    /** A producer that has seen a partition without leader forgets for long to look again. */
    static void waitForLeaders(String topic, int partitions) throws Exception {
        for (int tries = 0; tries < 500; tries++) {
            try {
                var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
                if (found.size() == partitions && found.stream().allMatch(one -> one.leader() != null)) return;
            } catch (java.util.concurrent.ExecutionException e) {
                // Not everywhere known yet.
            }
            Thread.sleep(20);
        }
        throw new IllegalStateException("no leaders for " + topic);
    }

    static String text(byte[] bytes) {
        return bytes == null ? "-" : new String(bytes, StandardCharsets.UTF_8);
    }

    static long load(String topic, int partitions, File from) throws Exception {
        long sends = 0;
        var failed = new AtomicReference<Exception>();
        // A broker may be away for a while: what was not acknowledged is sent again, and stands there once.
        var settings = new HashMap<String, Object>(Map.of("linger.ms", "20", "batch.size", "1000000", "max.block.ms", "120000"));
        try (var fresh = producer(settings)) {
            var files = from.isDirectory() ? from.listFiles() : new File[] {from};
            Arrays.sort(files);
            for (var file : files) {
                try (var lines = new BufferedReader(new FileReader(file), 1 << 20)) {
                    for (String text; (text = lines.readLine()) != null; sends++) {
                        int to = (int) (sends / 512 % partitions);
                        var message = new ProducerRecord<byte[], byte[]>(topic, to, null, text.getBytes(StandardCharsets.UTF_8));
                        fresh.send(message, (done, failure) -> {
                            if (failure != null) failed.set(failure);
                        });
                    }
                }
            }
        }
        if (failed.get() != null) throw failed.get();
        return sends;
    }

    /** Shows every committed message, in the order of each partition; how many there were. */
    static long read(String topic, boolean isTimed, Consumer<String> show) {
        Map<String, Object> settings = Map.of("bootstrap.servers", servers, "isolation.level", "read_committed", "enable.auto.commit", "false");
        long count = 0;
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var partitions = consumer.partitionsFor(topic).stream().map(one -> new TopicPartition(topic, one.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // Behind the last message that no open transaction holds back.
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (var message : consumer.poll(java.time.Duration.ofMillis(200))) {
                    var headers = new StringJoiner(",");
                    for (var header : message.headers()) headers.add(header.key() + "=" + text(header.value()));
                    show.accept(message.partition() + "|" + text(message.key()) + "|" + text(message.value()) + "|"
                        + (isTimed ? String.valueOf(message.timestamp()) : headers.toString()));
                    count++;
                }
            }
        }
        return count;
    }

    static long send(String[] words) throws Exception {
        var headers = new RecordHeaders();
        for (int at = 7; at < words.length; at++) {
            var pair = words[at].split("=", 2);
            headers.add(new RecordHeader(pair[0], bytes(pair[1])));
        }
        Long time = words[4].equals("-") ? null : Long.valueOf(words[4]);
        var record = new ProducerRecord<>(words[2], Integer.valueOf(words[3]), time, bytes(words[5]), bytes(words[6]), headers);
        var producer = words[1].equals("-") ? plain : transactional.get(words[1]);
        return producer.send(record).get().offset();
    }
}
