package flex;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * The judge's side for Java: a warm virtual machine that compiles, and runs the tests.
 *
 * <p>The tests are compiled with the prompt around a stub in place of the completion, which sends
 * its arguments to the candidate's virtual machine and gets plain data back. No text and no class of
 * the candidate's is ever loaded here; only the compiler reads it.
 */
public final class Judge {
    private static Link link;

    private Judge() {}

    /** The candidate's machine is gone. */
    static final class Gone extends Error {}

    /** The candidate answered with something that is no answer. */
    static final class Broken extends Error {
        final String verdict;

        Broken(String verdict, String message) {
            super(message);
            this.verdict = verdict;
        }
    }

    /** An exception of the candidate's that is none of the platform's. */
    static final class CandidateException extends RuntimeException {
        CandidateException(String message) {
            super(message);
        }
    }

    private static final class Link {
        final DataInputStream in;
        final DataOutputStream out;
        Throwable raised;
        String raisedName;

        Link(String in, String out) throws IOException {
            this.in = new DataInputStream(new BufferedInputStream(new FileInputStream(in)));
            this.out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(out)));
        }
    }

    /** What a stub calls: the candidate's method {@code name} of the class {@code owner}. */
    public static Object call(String owner, String name, String types, Object... args)
            throws Throwable {
        try {
            return ask(owner, name, types, args);
        } catch (IOException error) {
            if (error == link.raised) {
                throw error;
            }
            throw new Gone();
        } catch (Wire.WireException error) {
            throw new Broken("runtime_error", "answered with " + error.getMessage());
        } catch (StackOverflowError error) {
            if (error == link.raised) {
                throw error;
            }
            throw new Broken("runtime_error", "answered with a value nested too deep");
        }
    }

    /** Throw what the candidate threw, declared or not. */
    @SuppressWarnings("unchecked")
    public static <T extends Throwable> Error as(Throwable thrown) throws T {
        throw (T) thrown;
    }

    private static Object ask(String owner, String name, String types, Object[] args)
            throws Throwable {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream message = new DataOutputStream(bytes);
        message.writeUTF(owner);
        message.writeUTF(name);
        message.writeUTF(types);
        Wire.write(message, args);
        Wire.send(link.out, bytes.toByteArray());
        DataInputStream answer = Wire.receive(link.in);
        switch (answer.readByte()) {
            case 'V':
                Object value = Wire.read(answer);
                if (answer.readBoolean()) {
                    refill(args, Wire.read(answer));
                }
                return value;
            case 'X':
                link.raised = rebuilt((List<?>) Wire.read(answer), Wire.readText(answer));
                throw link.raised;
            case 'B':
                throw new Broken("output_limit", "answered with " + Wire.readText(answer));
            case 'W':
                throw new Broken("runtime_error", "answered with " + Wire.readText(answer));
            default:
                throw new Wire.WireException("no answer");
        }
    }

    /** Give arrays and collections among the arguments the contents they had after the call. */
    @SuppressWarnings("unchecked")
    private static void refill(Object before, Object after) {
        if (before == null || after == null) {
            return;
        }
        try {
            if (before.getClass().isArray() && before.getClass() == after.getClass()) {
                for (int i = 0; i < Math.min(Array.getLength(before), Array.getLength(after)); i++) {
                    Object old = Array.get(before, i);
                    if (old instanceof Collection || old instanceof Map
                            || old != null && old.getClass().isArray()) {
                        refill(old, Array.get(after, i));
                    } else {
                        Array.set(before, i, Array.get(after, i));
                    }
                }
            } else if (before instanceof Collection && after instanceof Collection) {
                if (!before.equals(after)) {
                    ((Collection<Object>) before).clear();
                    ((Collection<Object>) before).addAll((Collection<Object>) after);
                }
            } else if (before instanceof Map && after instanceof Map && !before.equals(after)) {
                ((Map<Object, Object>) before).clear();
                ((Map<Object, Object>) before).putAll((Map<Object, Object>) after);
            }
        } catch (UnsupportedOperationException | IllegalArgumentException error) {
            return; // an argument that cannot change here did not change there either
        }
    }

    private static Throwable rebuilt(List<?> kinds, String message) {
        link.raisedName = kinds.isEmpty() ? "Throwable" : String.valueOf(kinds.get(0));
        for (Object kind : kinds) {
            if (!String.valueOf(kind).matches("java\\.(lang|util|io|math)\\.\\w+")) {
                continue;
            }
            try {
                Object error = Class.forName((String) kind).getConstructor(String.class)
                        .newInstance(message);
                return (Throwable) error;
            } catch (ReflectiveOperationException | ClassCastException error) {
                continue;
            }
        }
        return new CandidateException(message);
    }

    // The supervisor's side.

    public static void main(String[] args) throws Exception {
        DataInputStream in = new DataInputStream(new FileInputStream(FileDescriptor.in));
        OutputStream out = new FileOutputStream(FileDescriptor.out);
        System.setOut(new PrintStream(OutputStream.nullOutputStream()));
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        Units units = new Units(args.length > 0 ? args[0] : "");
        while (true) {
            String[] job = new String[5];
            try {
                for (int i = 0; i < job.length; i++) {
                    job[i] = new String(in.readNBytes(in.readInt()), StandardCharsets.UTF_8);
                }
            } catch (EOFException error) {
                Runtime.getRuntime().halt(0);
            }
            String[] verdict = new String[2];
            // A thread of its own, with room for deeply nested sources.
            Thread thread = new Thread(null, () -> {
                try {
                    String[] word = judge(units, job, out);
                    verdict[0] = word[0];
                    verdict[1] = word[1];
                } catch (Throwable error) {
                    verdict[0] = "harness_error";
                    verdict[1] = "the judge failed: " + error;
                }
            }, "judge", 64 << 20);
            thread.start();
            thread.join();
            say(out, verdict[0], verdict[1]);
        }
    }

    private static void say(OutputStream out, String verdict, String detail) throws IOException {
        StringBuilder line = new StringBuilder("{\"verdict\":\"" + verdict + "\",\"detail\":\"");
        String text = detail == null ? "" : detail;
        for (char c : text.substring(0, Math.min(text.length(), 500)).toCharArray()) {
            line.append(c < 32 || c > 126 || c == '"' || c == '\\'
                    ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        out.write(line.append("\"}\n").toString().getBytes(StandardCharsets.US_ASCII));
        out.flush();
    }

    private static String[] judge(Units units, String[] job, OutputStream out) throws Exception {
        Units.Unit unit;
        Map<String, byte[]> candidate;
        try {
            unit = units.unit(job[0], job[2]);
        } catch (Compiler.Unfit error) {
            return unfitTests(units, job[0] + job[1] + "\n" + job[2], error.getMessage());
        }
        try {
            candidate = units.candidate(unit, job[0], job[1]);
        } catch (Compiler.Unfit error) {
            return new String[] {"compile_error", error.getMessage()};
        } catch (StackOverflowError | OutOfMemoryError error) {
            return new String[] {"compile_error", "the compiler failed: " + error};
        }
        say(out, "compiled", "");
        link = new Link(job[3], job[4]);
        try (DataInputStream in = link.in; DataOutputStream to = link.out) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream message = new DataOutputStream(bytes);
            message.writeInt(candidate.size());
            for (Map.Entry<String, byte[]> entry : candidate.entrySet()) {
                message.writeUTF(entry.getKey());
                message.writeInt(entry.getValue().length);
                message.write(entry.getValue());
            }
            Wire.send(to, bytes.toByteArray());
            return run(unit);
        } catch (IOException error) {
            return new String[] {"gone", ""};
        }
    }

    /** Tests that do not compile around a stub: a flaw of theirs, or a form that we cannot judge. */
    private static String[] unfitTests(Units units, String program, String why) {
        try {
            units.whole(program);
        } catch (Compiler.Unfit error) {
            return new String[] {"compile_error", "the tests themselves: " + why};
        }
        return new String[] {"harness_error", why};
    }

    private static String[] run(Units.Unit unit) throws Exception {
        Method main = unit.load().loadClass(unit.mainClass)
                .getDeclaredMethod("main", String[].class);
        main.setAccessible(true);
        try {
            main.invoke(null, (Object) new String[0]);
            return new String[] {"pass", ""};
        } catch (InvocationTargetException error) {
            return failure(error.getCause(), unit);
        }
    }

    private static String[] failure(Throwable error, Units.Unit unit) {
        if (error instanceof ExceptionInInitializerError && error.getCause() != null) {
            error = error.getCause();
        }
        String line = unit.testLine(error);
        if (error instanceof Gone) {
            return new String[] {"gone", ""};
        }
        if (error instanceof Broken) {
            return new String[] {((Broken) error).verdict, error.getMessage() + line};
        }
        if (error == link.raised) {
            String verdict = error instanceof OutOfMemoryError ? "out_of_memory" : "runtime_error";
            return new String[] {verdict, link.raisedName + ": " + error.getMessage() + line};
        }
        if (error instanceof OutOfMemoryError) {
            return new String[] {"out_of_memory", "its answer filled the judge" + line};
        }
        Class<?> kind = error.getClass();
        boolean test = error instanceof AssertionError || kind == Exception.class
                || kind == RuntimeException.class || kind == Error.class;
        String message = error.getMessage() == null ? "" : ": " + error.getMessage();
        return new String[] {test ? "wrong" : "runtime_error", kind.getName() + message + line};
    }
}
