package flex;

import com.sun.source.tree.BlockTree;
import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.TreePathScanner;
import com.sun.source.util.Trees;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.io.Writer;
import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import javax.lang.model.element.Modifier;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.StandardLocation;
import javax.tools.ToolProvider;

/**
 * Splits {@code prompt + completion + tests} in two programs and compiles them.
 *
 * <p>The judge's: the prompt, a stub, the tests. The candidate's: the prompt, the completion, and the tests
 * with every body cut out, so that what the text declares is as it would be in one file, and no
 * expected value is left.
 */
final class Units {
    /** The text is not what it has to be; the message says why. */
    static final class Unfit extends Exception {
        Unfit(String message) {
            super(message);
        }
    }

    /** The trusted half, compiled. */
    static final class Unit {
        Map<String, byte[]> classes;
        String mainClass;
        String emptyTests;
        String[] lines;

        ClassLoader load() {
            ClassLoader loader = new ClassLoader(Judge.class.getClassLoader()) {
                @Override
                protected Class<?> findClass(String name) throws ClassNotFoundException {
                    byte[] code = classes.get(name);
                    if (code == null) {
                        throw new ClassNotFoundException(name);
                    }
                    return defineClass(name, code, 0, code.length);
                }
            };
            loader.setDefaultAssertionStatus(true);
            return loader;
        }

        /** The line of the tests on which {@code error} arose, in brackets. */
        String testLine(Throwable error) {
            for (StackTraceElement frame : error.getStackTrace()) {
                int number = frame.getLineNumber();
                if (frame.getMethodName().equals("main") && frame.getClassName().equals(mainClass)
                        && number > 0 && number <= lines.length) {
                    return " [" + lines[number - 1].strip() + "]";
                }
            }
            return "";
        }
    }

    private static final int KEPT = 32; // units kept for further samples of the same problem

    private final JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    private final StandardJavaFileManager forJudge;
    private final StandardJavaFileManager forCandidate;
    private final Map<List<String>, Unit> units =
            new LinkedHashMap<>(16, 0.75f, true) {
                @Override
                protected boolean removeEldestEntry(Map.Entry<List<String>, Unit> eldest) {
                    return size() > KEPT;
                }
            };

    Units(String libraries) throws IOException {
        // One each: a manager that is given another class path opens its archives anew.
        forJudge = manager(libraries + ":" + System.getProperty("java.class.path"));
        forCandidate = manager(libraries);
    }

    private StandardJavaFileManager manager(String classPath) throws IOException {
        StandardJavaFileManager files = compiler.getStandardFileManager(null, Locale.ROOT, null);
        List<File> path = new ArrayList<>();
        for (String part : classPath.split(":")) {
            if (!part.isEmpty()) {
                path.add(new File(part));
            }
        }
        files.setLocation(StandardLocation.CLASS_PATH, path);
        return files;
    }

    Unit unit(String prompt, String tests) throws IOException, Unfit {
        List<String> key = List.of(prompt, tests);
        Unit unit = units.get(key);
        if (unit == null) {
            unit = build(prompt, tests);
            units.put(key, unit);
        }
        return unit;
    }

    private Unit build(String prompt, String tests) throws IOException, Unfit {
        String closing = "";
        Parsed trusted = null;
        for (Unfit reason = null; trusted == null; closing += "}") {
            try { // some tests close the method, some leave it to the completion
                String before = prompt + closing + "\n";
                trusted = new Parsed(before + tests, prompt.length(), before.length());
                break;
            } catch (Unfit error) {
                reason = reason == null ? error : reason;
                if (closing.length() == 4) {
                    throw new Unfit("the prompt and the tests do not parse: " + reason.getMessage());
                }
            }
        }
        if (trusted.open == null) {
            throw new Unfit("the Java prompt must end inside the method that the completion writes");
        }
        if (trusted.main == null) {
            throw new Unfit("the Java tests declare no main method");
        }
        Unit unit = new Unit();
        unit.mainClass = trusted.mainClass;
        unit.emptyTests = trusted.withoutBodies();
        String source = prompt + trusted.stub() + closing + "\n" + tests;
        unit.lines = source.split("\n", -1);
        try {
            unit.classes = new Compilation(source, forJudge).classes();
        } catch (Unfit error) {
            throw new Unfit("the tests do not compile: " + error.getMessage());
        }
        return unit;
    }

    Map<String, byte[]> candidate(Unit unit, String prompt, String completion)
            throws IOException, Unfit {
        String source = prompt + completion + "\n" + unit.emptyTests;
        Parsed parsed = new Parsed(source, prompt.length(), prompt.length() + completion.length() + 1);
        if (parsed.main == null || !unit.mainClass.equals(parsed.mainClass)) {
            throw new Unfit("the completion changes where the tests stand (it closes their class,"
                    + " or comments them out)");
        }
        return parsed.compilation.classes();
    }

    /** Compile a program as it stands, only to see whether it does. */
    void whole(String program) throws IOException, Unfit {
        new Compilation(program, forCandidate).classes();
    }

    /** One source on its way through the compiler. */
    private final class Compilation {
        final DiagnosticCollector<JavaFileObject> problems = new DiagnosticCollector<>();
        final Memory memory;
        final JavacTask task;

        Compilation(String source, StandardJavaFileManager files) {
            memory = new Memory(files);
            // Strings joined inline: the other way links at run time, for tens of milliseconds.
            List<String> options = List.of("-proc:none", "-nowarn", "-Xlint:none",
                    "-implicit:none", "-XDstringConcat=inline");
            task = (JavacTask) compiler.getTask(Writer.nullWriter(), memory, problems, options,
                    null, List.of(new Source(source)));
        }

        CompilationUnitTree parse() throws IOException, Unfit {
            CompilationUnitTree tree = task.parse().iterator().next();
            check();
            return tree;
        }

        Map<String, byte[]> classes() throws IOException, Unfit {
            task.generate();
            check();
            Map<String, byte[]> classes = new HashMap<>();
            memory.written.forEach((name, bytes) -> classes.put(name, bytes.toByteArray()));
            return classes;
        }

        private void check() throws Unfit {
            for (Diagnostic<?> problem : problems.getDiagnostics()) {
                if (problem.getKind() == Diagnostic.Kind.ERROR) {
                    throw new Unfit(first(problems));
                }
            }
        }
    }

    private static String first(DiagnosticCollector<JavaFileObject> problems) {
        for (Diagnostic<? extends JavaFileObject> problem : problems.getDiagnostics()) {
            if (problem.getKind() == Diagnostic.Kind.ERROR) {
                return "line " + problem.getLineNumber() + ": " + problem.getMessage(Locale.ROOT);
            }
        }
        return "the compiler gives no reason";
    }

    /** A source's syntax tree, and what of it stands where the tests begin. */
    private final class Parsed {
        final String source;
        final int testsAt;
        final Compilation compilation;
        SourcePositions positions;
        CompilationUnitTree tree;
        MethodTree open; // the method that the prompt leaves open
        String openClass;
        MethodTree main; // the tests' own
        String mainClass;
        final List<Tree> testMembers = new ArrayList<>();

        Parsed(String source, int promptEnd, int testsAt) throws IOException, Unfit {
            this.source = source;
            this.testsAt = testsAt;
            compilation = new Compilation(source, forCandidate);
            tree = compilation.parse();
            positions = Trees.instance(compilation.task).getSourcePositions();
            new TreePathScanner<Void, String>() {
                @Override
                public Void visitClass(ClassTree type, String outer) {
                    String name = outer.isEmpty() ? packageName() + type.getSimpleName()
                            : outer + "$" + type.getSimpleName();
                    return super.visitClass(type, name);
                }

                @Override
                public Void visitMethod(MethodTree method, String owner) {
                    if (start(method) >= testsAt) {
                        if (isMain(method) && main == null) {
                            main = method;
                            mainClass = owner;
                        }
                    } else if (method.getBody() != null && start(method.getBody()) < promptEnd
                            && end(method.getBody()) > promptEnd) {
                        open = method;
                        openClass = owner;
                    }
                    return null; // local and anonymous classes declare nothing for us
                }
            }.scan(tree, "");
            new TreePathScanner<Void, Void>() {
                @Override
                public Void visitClass(ClassTree type, Void nothing) {
                    boolean holdsMain = main != null && type.getMembers().contains(main);
                    for (Tree member : type.getMembers()) {
                        boolean inTests = start(member) >= testsAt;
                        if (inTests && (start(type) < testsAt || holdsMain)) {
                            testMembers.add(member);
                        }
                    }
                    return super.visitClass(type, nothing);
                }

                @Override
                public Void visitMethod(MethodTree method, Void nothing) {
                    return null;
                }
            }.scan(tree, null);
        }

        private String packageName() {
            return tree.getPackageName() == null ? "" : tree.getPackageName() + ".";
        }

        private long start(Tree node) {
            return positions.getStartPosition(tree, node);
        }

        private long end(Tree node) {
            return positions.getEndPosition(tree, node);
        }

        private boolean isMain(MethodTree method) {
            return method.getName().contentEquals("main")
                    && method.getModifiers().getFlags().contains(Modifier.STATIC)
                    && method.getParameters().size() == 1;
        }

        /** The tests' text without the bodies of its methods and the values of its fields. */
        String withoutBodies() {
            StringBuilder text = new StringBuilder(source);
            testMembers.sort((a, b) -> Long.compare(start(b), start(a)));
            for (Tree member : testMembers) {
                if (member instanceof MethodTree && ((MethodTree) member).getBody() != null) {
                    Tree body = ((MethodTree) member).getBody();
                    String empty = ((MethodTree) member).getReturnType() == null ? "{}"
                            : "{ throw null; }";
                    text.replace((int) start(body), (int) end(body), empty);
                } else if (member instanceof VariableTree || member instanceof BlockTree) {
                    text.replace((int) start(member), (int) end(member), "");
                }
            }
            return text.substring(testsAt);
        }

        /** The statement that takes the completion's place in the judge's program. */
        String stub() {
            List<String> names = new ArrayList<>();
            List<String> types = new ArrayList<>();
            for (VariableTree parameter : open.getParameters()) {
                names.add("(Object) " + parameter.getName());
                types.add(simple(parameter.getType().toString()));
            }
            String call = String.format("flex.Judge.call(\"%s\", \"%s\", \"%s\"%s)", openClass,
                    open.getName(), String.join(",", types),
                    names.isEmpty() ? "" : ", " + String.join(", ", names));
            Tree result = open.getReturnType();
            boolean nothing = result == null || result.toString().equals("void");
            String type = nothing ? "" : source.substring((int) start(result), (int) end(result));
            String go = nothing ? call + ";" : "return (" + type + ") " + call + ";";
            return " try { " + go + " } catch (Throwable thrown) { throw flex.Judge.<Error>as(thrown); }";
        }

        private String simple(String type) {
            String plain = type.replaceAll("<.*>", "").replaceAll("\\s", "").replace("...", "[]");
            return plain.substring(plain.lastIndexOf('.') + 1);
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
