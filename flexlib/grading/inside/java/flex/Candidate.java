package flex;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.EOFException;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The candidate's side for Java: load the untrusted classes and answer the judge's calls.
 *
 * <p>A fresh virtual machine for every program. It holds no test and no expected value, and
 * nothing that it says is taken for more than plain data.
 */
public final class Candidate {
    private final Map<String, byte[]> classes = new HashMap<>();
    private final Map<Class<?>, Object> receivers = new HashMap<>();
    private final ClassLoader loader = new ClassLoader(Candidate.class.getClassLoader()) {
        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            byte[] code = classes.get(name);
            if (code == null) {
                throw new ClassNotFoundException(name);
            }
            return defineClass(name, code, 0, code.length);
        }
    };

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(
                new BufferedInputStream(new FileInputStream("/proc/self/fd/3")));
        DataOutputStream out = new DataOutputStream(
                new BufferedOutputStream(new FileOutputStream("/proc/self/fd/4")));
        Candidate candidate = new Candidate();
        candidate.warmUp();
        try {
            candidate.load(Wire.receive(in));
            while (true) {
                byte[] answer = candidate.answer(Wire.receive(in));
                try {
                    Wire.send(out, answer);
                } catch (Wire.WireException error) {
                    Wire.send(out, refusal('B', error.getMessage()));
                }
            }
        } catch (EOFException error) {
            Runtime.getRuntime().halt(0);
        }
    }

    /** Once through what every call does, before there is one: what it needs is loaded then. */
    private void warmUp() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream call = new DataOutputStream(bytes);
        call.writeUTF("flex.Candidate");
        call.writeUTF("sample");
        call.writeUTF("List,long");
        Wire.write(call, new Object[] {new ArrayList<>(List.of(1L, "a")), 2L});
        byte[] answer = answer(new DataInputStream(new ByteArrayInputStream(bytes.toByteArray())));
        if (answer[0] != 'V') {
            throw new IllegalStateException("the warm-up failed");
        }
    }

    private static List<Object> sample(List<Object> items, long more) {
        items.add(more);
        return items;
    }

    private void load(DataInputStream in) throws IOException {
        for (int left = in.readInt(); left > 0; left--) {
            classes.put(in.readUTF(), in.readNBytes(in.readInt()));
        }
        loader.setDefaultAssertionStatus(true);
    }

    private byte[] answer(DataInputStream in) throws IOException {
        try {
            Class<?> owner = Class.forName(in.readUTF(), true, loader);
            Method method = method(owner, in.readUTF(), in.readUTF());
            byte[] sent = in.readAllBytes();
            Object[] args = (Object[]) Wire.read(
                    new DataInputStream(new ByteArrayInputStream(sent)));
            method.setAccessible(true);
            Object receiver = Modifier.isStatic(method.getModifiers()) ? null : receiver(owner);
            Object result = method.invoke(receiver, args);
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeByte('V');
            Wire.write(out, result);
            byte[] after = Wire.bytes(args);
            boolean changed = !Arrays.equals(sent, after);
            out.writeBoolean(changed);
            if (changed) {
                out.write(after);
            }
            return bytes.toByteArray();
        } catch (Wire.WireException error) {
            return refusal('W', error.getMessage());
        } catch (InvocationTargetException error) {
            return thrown(error.getCause());
        } catch (Throwable error) {
            return thrown(error);
        }
    }

    private static byte[] refusal(char kind, String message) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeByte(kind);
        Wire.writeText(out, message);
        return bytes.toByteArray();
    }

    private static byte[] thrown(Throwable error) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        List<String> kinds = new ArrayList<>();
        for (Class<?> kind = error.getClass(); kind != null; kind = kind.getSuperclass()) {
            kinds.add(kind.getName());
        }
        if (error instanceof ExceptionInInitializerError && error.getCause() != null) {
            error = error.getCause();
        }
        String message;
        try {
            message = String.valueOf(error.getMessage());
        } catch (Throwable other) {
            message = "?";
        }
        out.writeByte('X');
        Wire.write(out, kinds);
        Wire.writeText(out, message.substring(0, Math.min(message.length(), 500)));
        return bytes.toByteArray();
    }

    private Object receiver(Class<?> owner) throws ReflectiveOperationException {
        Object receiver = receivers.get(owner);
        if (receiver == null) {
            var constructor = owner.getDeclaredConstructor();
            constructor.setAccessible(true);
            receiver = constructor.newInstance();
            receivers.put(owner, receiver);
        }
        return receiver;
    }

    /** The method of that name whose parameter types, as simple names, are {@code types}. */
    private static Method method(Class<?> owner, String name, String types) {
        Method found = null;
        int parameters = types.isEmpty() ? 0 : types.split(",").length;
        for (Method method : owner.getDeclaredMethods()) {
            if (!method.getName().equals(name) || method.getParameterCount() != parameters) {
                continue;
            }
            StringBuilder simple = new StringBuilder();
            for (Class<?> type : method.getParameterTypes()) {
                simple.append(simple.length() == 0 ? "" : ",").append(type.getSimpleName());
            }
            if (found == null || simple.toString().equals(types)) {
                found = method;
            }
        }
        if (found == null) {
            throw new NoSuchMethodError(owner.getName() + "." + name);
        }
        return found;
    }
}
