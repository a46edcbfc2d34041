package flex;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.*;

/**
 * The only way a value passes between a judge and a candidate: as plain data.
 *
 * <p>A frame is a 4-byte length and that many bytes. A value is the name of its type and its contents; the
 * reader builds it anew from a fixed list of the platform's own types, so that no method of the
 * candidate's takes part in a comparison.
 */
final class Wire {
    static final int FRAME_LIMIT = 64 << 20;

    /** A value that is no plain data, or bytes that are no value. */
    static final class WireException extends RuntimeException {
        WireException(String message) {
            super(message);
        }
    }

    // Spelt out, without lambdas: those would cost every virtual machine tens of milliseconds.

    private static final Set<String> COLLECTIONS = Set.of("java.util.ArrayList",
            "java.util.LinkedList", "java.util.Vector", "java.util.Stack", "java.util.ArrayDeque",
            "java.util.PriorityQueue", "java.util.HashSet", "java.util.LinkedHashSet",
            "java.util.TreeSet");
    private static final Set<String> MAPS = Set.of("java.util.HashMap", "java.util.LinkedHashMap",
            "java.util.TreeMap", "java.util.Hashtable");

    private static Collection<Object> newCollection(String name) {
        switch (name) {
            case "java.util.LinkedList": return new LinkedList<>();
            case "java.util.Vector": return new Vector<>();
            case "java.util.Stack": return new Stack<>();
            case "java.util.ArrayDeque": return new ArrayDeque<>();
            case "java.util.PriorityQueue": return new PriorityQueue<>();
            case "java.util.HashSet": return new HashSet<>();
            case "java.util.LinkedHashSet": return new LinkedHashSet<>();
            case "java.util.TreeSet": return new TreeSet<>();
            default: return new ArrayList<>();
        }
    }

    private static Map<Object, Object> newMap(String name) {
        switch (name) {
            case "java.util.LinkedHashMap": return new LinkedHashMap<>();
            case "java.util.TreeMap": return new TreeMap<>();
            case "java.util.Hashtable": return new Hashtable<>();
            default: return new HashMap<>();
        }
    }

    /** The classes that need no look-up: what arguments are made of. */
    private static Class<?> common(String name) {
        switch (name) {
            case "java.lang.Object": return Object.class;
            case "java.lang.String": return String.class;
            case "boolean": return boolean.class;
            case "char": return char.class;
            case "byte": return byte.class;
            case "short": return short.class;
            case "int": return int.class;
            case "long": return long.class;
            case "float": return float.class;
            case "double": return double.class;
            default: return null;
        }
    }

    private Wire() {}

    static void send(DataOutputStream out, byte[] body) throws IOException {
        if (body.length > FRAME_LIMIT) {
            throw new WireException("a value of " + body.length + " bytes");
        }
        out.writeInt(body.length);
        out.write(body);
        out.flush();
    }

    static DataInputStream receive(DataInputStream in) throws IOException {
        int size = in.readInt();
        if (size < 0 || size > FRAME_LIMIT) {
            throw new WireException("a value of " + (size & 0xffffffffL) + " bytes");
        }
        byte[] body = in.readNBytes(size);
        if (body.length < size) {
            throw new EOFException();
        }
        return new DataInputStream(new ByteArrayInputStream(body));
    }

    static byte[] bytes(Object value) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        write(new DataOutputStream(bytes), value);
        return bytes.toByteArray();
    }

    static void writeText(DataOutputStream out, String text) throws IOException {
        out.writeInt(text.length());
        out.writeChars(text);
    }

    static String readText(DataInputStream in) throws IOException {
        int size = count(in, 2);
        char[] text = new char[size];
        for (int i = 0; i < size; i++) {
            text[i] = in.readChar();
        }
        return new String(text);
    }

    /** A number of things of at least {@code each} bytes that the rest of the frame can hold. */
    private static int count(DataInputStream in, int each) throws IOException {
        int size = in.readInt();
        if (size < 0 || (long) size * each > in.available()) {
            throw new WireException("a wrong length");
        }
        return size;
    }

    static void write(DataOutputStream out, Object value) throws IOException {
        if (value == null) {
            out.writeUTF("null");
        } else if (value instanceof Boolean || value instanceof Number && isBoxed(value)) {
            out.writeUTF(value.getClass().getName());
            writeBoxed(out, value);
        } else if (value instanceof Character) {
            out.writeUTF("java.lang.Character");
            out.writeChar((Character) value);
        } else if (value instanceof String) {
            out.writeUTF("java.lang.String");
            writeText(out, (String) value);
        } else if (value.getClass() == BigInteger.class || value.getClass() == BigDecimal.class) {
            out.writeUTF(value.getClass().getName());
            writeText(out, value.toString());
        } else if (value instanceof Optional) {
            out.writeUTF("java.util.Optional");
            write(out, ((Optional<?>) value).orElse(null));
        } else if (value.getClass().isArray()) {
            writeArray(out, value);
        } else if (value instanceof Collection) {
            writeCollection(out, (Collection<?>) value);
        } else if (value instanceof Map) {
            writeMap(out, (Map<?, ?>) value);
        } else if (value instanceof Map.Entry) {
            out.writeUTF("java.util.Map.Entry");
            write(out, ((Map.Entry<?, ?>) value).getKey());
            write(out, ((Map.Entry<?, ?>) value).getValue());
        } else if (value.getClass().getName().startsWith("org.javatuples.")) {
            writeTuple(out, value);
        } else if (value.getClass() == Object.class) {
            out.writeUTF("java.lang.Object");
        } else {
            throw new WireException("a " + value.getClass().getName() + ", which is no plain data");
        }
    }

    private static boolean isBoxed(Object value) {
        return value instanceof Integer || value instanceof Long || value instanceof Double
                || value instanceof Float || value instanceof Short || value instanceof Byte;
    }

    private static void writeBoxed(DataOutputStream out, Object value) throws IOException {
        if (value instanceof Boolean) {
            out.writeBoolean((Boolean) value);
        } else if (value instanceof Integer) {
            out.writeInt((Integer) value);
        } else if (value instanceof Long) {
            out.writeLong((Long) value);
        } else if (value instanceof Double) {
            out.writeDouble((Double) value);
        } else if (value instanceof Float) {
            out.writeFloat((Float) value);
        } else if (value instanceof Short) {
            out.writeShort((Short) value);
        } else {
            out.writeByte((Byte) value);
        }
    }

    private static void writeArray(DataOutputStream out, Object array) throws IOException {
        int size = Array.getLength(array);
        out.writeUTF("[");
        out.writeUTF(array.getClass().getComponentType().getName());
        out.writeInt(size);
        for (int i = 0; i < size; i++) {
            write(out, Array.get(array, i));
        }
    }

    private static void writeCollection(DataOutputStream out, Collection<?> value)
            throws IOException {
        String name = known(value.getClass(), COLLECTIONS);
        if (name == null) {
            name = value instanceof List ? "java.util.ArrayList"
                    : value instanceof SortedSet ? "java.util.TreeSet"
                    : value instanceof Set ? "java.util.LinkedHashSet"
                    : value instanceof Queue ? "java.util.LinkedList" : "java.util.ArrayList";
        }
        Object[] items = value.toArray();
        out.writeUTF(name);
        out.writeInt(items.length);
        for (Object item : items) {
            write(out, item);
        }
    }

    private static void writeMap(DataOutputStream out, Map<?, ?> value) throws IOException {
        String name = known(value.getClass(), MAPS);
        if (name == null) {
            name = value instanceof SortedMap ? "java.util.TreeMap" : "java.util.LinkedHashMap";
        }
        List<Map.Entry<?, ?>> entries = new ArrayList<>(value.entrySet());
        out.writeUTF(name);
        out.writeInt(entries.size());
        for (Map.Entry<?, ?> entry : entries) {
            write(out, entry.getKey());
            write(out, entry.getValue());
        }
    }

    private static String known(Class<?> kind, Set<String> names) {
        for (; kind != null; kind = kind.getSuperclass()) {
            if (names.contains(kind.getName())) {
                return kind.getName();
            }
        }
        return null;
    }

    private static void writeTuple(DataOutputStream out, Object tuple) throws IOException {
        out.writeUTF("tuple");
        out.writeUTF(tuple.getClass().getSimpleName());
        try {
            write(out, tuple.getClass().getMethod("toArray").invoke(tuple));
        } catch (ReflectiveOperationException error) {
            throw new WireException("a tuple that cannot be read");
        }
    }

    static Object read(DataInputStream in) throws IOException {
        String name = in.readUTF();
        if (COLLECTIONS.contains(name)) {
            Collection<Object> items = newCollection(name);
            for (int left = count(in, 2); left > 0; left--) {
                items.add(read(in));
            }
            return items;
        }
        if (MAPS.contains(name)) {
            Map<Object, Object> entries = newMap(name);
            for (int left = count(in, 4); left > 0; left--) {
                Object key = read(in);
                entries.put(key, read(in));
            }
            return entries;
        }
        switch (name) {
            case "null": return null;
            case "java.lang.Boolean": return in.readBoolean();
            case "java.lang.Character": return in.readChar();
            case "java.lang.Byte": return in.readByte();
            case "java.lang.Short": return in.readShort();
            case "java.lang.Integer": return in.readInt();
            case "java.lang.Long": return in.readLong();
            case "java.lang.Float": return in.readFloat();
            case "java.lang.Double": return in.readDouble();
            case "java.lang.String": return readText(in).intern(); // literals of both sides are one
            case "java.math.BigInteger": return new BigInteger(readText(in));
            case "java.math.BigDecimal": return new BigDecimal(readText(in));
            case "java.util.Optional": return Optional.ofNullable(read(in));
            case "java.util.Map.Entry": return new AbstractMap.SimpleEntry<>(read(in), read(in));
            case "java.lang.Object": return new Object();
            case "[": return readArray(in);
            case "tuple": return readTuple(in);
            default: throw new WireException("no value");
        }
    }

    private static Object readArray(DataInputStream in) throws IOException {
        Class<?> component = component(in.readUTF());
        int size = count(in, 2);
        Object array = Array.newInstance(component, size);
        try {
            for (int i = 0; i < size; i++) {
                Array.set(array, i, read(in));
            }
        } catch (IllegalArgumentException error) {
            throw new WireException("an array of mixed types");
        }
        return array;
    }

    private static Class<?> component(String name) {
        if (common(name) != null) {
            return common(name);
        }
        try {
            if (name.matches("\\[*L?(java\\.(lang|util|math)|org\\.javatuples)\\.\\w+;?|\\[+\\w")) {
                return Class.forName(name, false, Wire.class.getClassLoader());
            }
        } catch (ClassNotFoundException error) {
            throw new WireException("an array of unknown type " + name);
        }
        throw new WireException("an array of " + name);
    }

    private static Object readTuple(DataInputStream in) throws IOException {
        String name = in.readUTF();
        Object items = read(in);
        if (!name.matches("[A-Z][a-z]+") || !(items instanceof Object[])) {
            throw new WireException("no tuple");
        }
        try {
            return Class.forName("org.javatuples." + name)
                    .getMethod("fromArray", Object[].class).invoke(null, items);
        } catch (ReflectiveOperationException error) {
            throw new WireException("no tuple " + name);
        }
    }
}
