package flex;

import com.sun.source.tree.BlockTree;
import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.TreePathScanner;
import flex.Compiler.Unfit;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import javax.lang.model.element.Modifier;
import javax.tools.JavaCompiler;
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
    /** The trusted half, compiled. */
    static final class Unit {
        Map<String, byte[]> classes;
        Set<String> declared; // its outermost classes
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

    private final Compiler parser;
    private final Compiler forJudge;
    private final Compiler forCandidate;
    private final Map<List<String>, Unit> units =
            new LinkedHashMap<>(16, 0.75f, true) {
                @Override
                protected boolean removeEldestEntry(Map.Entry<List<String>, Unit> eldest) {
                    return size() > KEPT;
                }
            };

    Units(String libraries) throws IOException {
        // One each: a manager that is given another class path opens its archives anew.
        parser = compiler(libraries);
        forJudge = compiler(libraries + ":" + System.getProperty("java.class.path"));
        forCandidate = compiler(libraries);
    }

    private static Compiler compiler(String classPath) throws IOException {
        JavaCompiler javac = ToolProvider.getSystemJavaCompiler();
        StandardJavaFileManager files = javac.getStandardFileManager(null, Locale.ROOT, null);
        List<File> path = new ArrayList<>();
        for (String part : classPath.split(":")) {
            if (!part.isEmpty()) {
                path.add(new File(part));
            }
        }
        files.setLocation(StandardLocation.CLASS_PATH, path);
        return new Compiler(files);
    }

    Unit unit(String prompt, String tests) throws Unfit {
        List<String> key = List.of(prompt, tests);
        Unit unit = units.get(key);
        if (unit == null) {
            unit = build(prompt, tests);
            units.put(key, unit);
        }
        return unit;
    }

    private Unit build(String prompt, String tests) throws Unfit {
        String closing = "";
        Parsed trusted = null;
        for (Unfit reason = null; trusted == null; closing += "}") {
            try { // some tests close the method, some leave it to the completion
                String before = prompt + closing + "\n";
                String text = before + tests;
                trusted = parser.parse(text, (tree, positions) ->
                        new Parsed(text, tree, positions, prompt.length(), before.length()));
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
        unit.declared = Compiler.outermost(trusted.tree);
        unit.mainClass = trusted.mainClass;
        unit.emptyTests = trusted.withoutBodies();
        String source = prompt + trusted.stub() + closing + "\n" + tests;
        unit.lines = source.split("\n", -1);
        try {
            unit.classes = forJudge.compile(source, unit.declared, (tree, positions) -> null);
        } catch (Unfit error) {
            throw new Unfit("the tests do not compile: " + error.getMessage());
        }
        return unit;
    }

    Map<String, byte[]> candidate(Unit unit, String prompt, String completion) throws Unfit {
        String source = prompt + completion + "\n" + unit.emptyTests;
        int testsAt = prompt.length() + completion.length() + 1;
        return forCandidate.compile(source, unit.declared, (tree, positions) -> {
            Parsed parsed = new Parsed(source, tree, positions, prompt.length(), testsAt);
            if (parsed.main == null || !unit.mainClass.equals(parsed.mainClass)) {
                throw new Unfit("the completion changes where the tests stand (it closes their class,"
                        + " or comments them out)");
            }
            return null;
        });
    }

    /** Compile a program as it stands, only to see whether it does. */
    void whole(String program) throws Unfit {
        forCandidate.compile(program, Set.of(), (tree, positions) -> null);
    }

    /** A source's syntax tree, and what of it stands where the tests begin. */
    private static final class Parsed {
        final String source;
        final CompilationUnitTree tree;
        final SourcePositions positions;
        final int testsAt;
        MethodTree open; // the method that the prompt leaves open
        String openClass;
        MethodTree main; // the tests' own
        String mainClass;
        final List<Tree> testMembers = new ArrayList<>();

        Parsed(String source, CompilationUnitTree tree, SourcePositions positions, int promptEnd,
                int testsAt) {
            this.source = source;
            this.tree = tree;
            this.positions = positions;
            this.testsAt = testsAt;
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
}
