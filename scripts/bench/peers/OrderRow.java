import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.transforms.Transformation;

/** Makes a row of an order's JSON. "columns" are name, type and JSON pointer of each. */
public class OrderRow<R extends ConnectRecord<R>> implements Transformation<R> {
    private final ObjectMapper mapper = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    private String[][] columns;
    private Schema schema;

    @Override
    public ConfigDef config() {
        return new ConfigDef().define("columns", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "columns of the row");
    }

    @Override
    public void configure(Map<String, ?> settings) {
        String[] all = settings.get("columns").toString().split(",");
        columns = new String[all.length][];
        SchemaBuilder row = SchemaBuilder.struct();
        for (int i = 0; i < all.length; i++) {
            columns[i] = all[i].split(" ");
            row.field(columns[i][0], columns[i][1].equals("number") ? Schema.INT64_SCHEMA : Schema.STRING_SCHEMA);
        }
        schema = row.build();
    }

    @Override
    public R apply(R record) {
        Struct row = new Struct(schema);
        try {
            JsonNode order = mapper.readTree(String.valueOf(record.value()));
            for (String[] column : columns) {
                JsonNode value = order.at(column[2]);
                switch (column[1]) {
                    case "number" -> row.put(column[0], value.isIntegralNumber() ? value.longValue() : null);
                    case "json" -> row.put(column[0], value.isMissingNode() ? null : value.toString());
                    default -> row.put(column[0], value.textValue());
                }
            }
        } catch (JsonProcessingException e) {
            throw new DataException(e);
        }
        row.validate(); // what is missing is null, which no column may be
        return record.newRecord(record.topic(), record.kafkaPartition(), null, null, schema, row, record.timestamp());
    }

    @Override
    public void close() {}
}
