package flex;

import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.Trees;
import com.sun.tools.javac.api.JavacTaskPool;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.net.URI;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;

/**
 * javac, kept from one source to the next with what it has read of the platform.
 *
 * <p>A new compiler spends three fifths of its time on that. The kept one takes a source only if it
 * declares the same outermost classes as all that it took before, if those compiled, and if none
 * had a package: so no source sees what another has declared. What the kept one refuses, a new one
 * compiles again, and its word counts. It is renewed now and then, because it forgets no name.
 */
final class Compiler {
    /** The text is not what it has to be; the message says why. */
    static final class Unfit extends Exception {
        Unfit(String message) {
            super(message);
        }
    }

    /** What is done with a source that has been parsed, before it is compiled. */
    interface Look<Z> {
        Z at(CompilationUnitTree tree, SourcePositions positions) throws Unfit;
    }

    private static final List<String> OPTIONS = List.of("-proc:none", "-nowarn", "-Xlint:none",
            "-implicit:none",
            // Strings joined inline: the other way links at run time, for tens of milliseconds.
            "-XDstringConcat=inline");

    private static final int SOURCES = 200; // that one takes before it is renewed

    private final Memory memory;
    private int taken; // sources, by the kept one
    private JavacTaskPool kept = new JavacTaskPool(1);
    private Set<String> declared; // by each that the kept one took; null while it took none

    Compiler(JavaFileManager files) {
        memory = new Memory(files);
    }

    /** Parse {@code source} alone; this declares nothing. */
    <Z> Z parse(String source, Look<Z> look) throws Unfit {
        if (taken++ == SOURCES) {
            renew();
        }
        return use(source, (task, problems) -> parsed(task, problems, look));
    }

    /**
     * Compile {@code source}, of which {@code classes} are the outermost classes it should declare.
     * Returns the classes' code by their names.
     */
    Map<String, byte[]> compile(String source, Set<String> classes, Look<?> look) throws Unfit {
        if (classes.equals(declared) && taken++ < SOURCES) {
            try {
                return compiled(source, classes, look);
            } catch (Unfit | RuntimeException | AssertionError | OutOfMemoryError refused) {
                // It may be the fault of an earlier source.
            }
        }
        renew();
        return compiled(source, classes, look);
    }

    private void renew() {
        declared = null;
        taken = 0;
        kept = new JavacTaskPool(1);
    }

    private Map<String, byte[]> compiled(String source, Set<String> classes, Look<?> look)
            throws Unfit {
        boolean[] closed = new boolean[1];
        Map<String, byte[]> code = use(source, (task, problems) -> {
            closed[0] = parsed(task, problems, (tree, positions) -> {
                look.at(tree, positions);
                return tree.getPackageName() == null && outermost(tree).equals(classes);
            });
            task.generate();
            check(problems);
            Map<String, byte[]> written = new HashMap<>();
            memory.written.forEach((name, bytes) -> written.put(name, bytes.toByteArray()));
            return written;
        });
        declared = closed[0] ? classes : null;
        return code;
    }

    /** The names of the outermost classes of a source. */
    static Set<String> outermost(CompilationUnitTree tree) {
        Set<String> names = new TreeSet<>();
        for (Tree type : tree.getTypeDecls()) {
            if (type instanceof ClassTree) {
                names.add(((ClassTree) type).getSimpleName().toString());
            }
        }
        return names;
    }

    private interface Work<Z> {
        Z with(JavacTask task, DiagnosticCollector<JavaFileObject> problems)
                throws IOException, Unfit;
    }

    /** Carries an Unfit through javac's own pool, which then keeps nothing of the task. */
    private static final class Stopped extends RuntimeException {
        final Unfit reason;

        Stopped(Unfit reason) {
            this.reason = reason;
        }
    }

    private <Z> Z use(String source, Work<Z> work) throws Unfit {
        DiagnosticCollector<JavaFileObject> problems = new DiagnosticCollector<>();
        memory.written.clear();
        try {
            return kept.getTask(Writer.nullWriter(), memory, problems, OPTIONS, null,
                    List.of(new Source(source)), task -> {
                        try {
                            return work.with(task, problems);
                        } catch (Unfit reason) {
                            throw new Stopped(reason);
                        } catch (IOException error) {
                            throw new UncheckedIOException(error);
                        }
                    });
        } catch (Stopped stopped) {
            throw stopped.reason;
        }
    }

    private static <Z> Z parsed(JavacTask task, DiagnosticCollector<JavaFileObject> problems,
            Look<Z> look) throws IOException, Unfit {
        CompilationUnitTree tree = task.parse().iterator().next();
        check(problems);
        return look.at(tree, Trees.instance(task).getSourcePositions());
    }

    private static void check(DiagnosticCollector<JavaFileObject> problems) throws Unfit {
        for (Diagnostic<? extends JavaFileObject> problem : problems.getDiagnostics()) {
            if (problem.getKind() == Diagnostic.Kind.ERROR) {
                String message = problem.getMessage(Locale.ROOT);
                throw new Unfit("line " + problem.getLineNumber() + ": " + message);
            }
        }
    }

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String text) {
            super(URI.create("string:///Program.java"), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreErrors) {
            return text;
        }

        @Override
        public boolean isNameCompatible(String name, Kind kind) {
            return true; // a public class may have any name, as if the file had it
        }
    }

    private static final class Memory extends ForwardingJavaFileManager<JavaFileManager> {
        final Map<String, ByteArrayOutputStream> written = new HashMap<>();

        Memory(JavaFileManager files) {
            super(files);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(Location location, String name,
                JavaFileObject.Kind kind, FileObject sibling) {
            return new SimpleJavaFileObject(URI.create("memory:///" + name + ".class"), kind) {
                @Override
                public OutputStream openOutputStream() {
                    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                    written.put(name, bytes);
                    return bytes;
                }
            };
        }
    }
}
