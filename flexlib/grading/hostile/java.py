"""Hostile programs in Java."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, Suite

PROMPT = (
    "import java.util.*;\nclass Problem {\n    // Add k to every number of x.\n"
    "    public static ArrayList<Long> addAll(ArrayList<Long> x, long k) {\n"
)

TESTS = """    }
    public static void main(String[] args) {
    assert(addAll((new ArrayList<Long>(Arrays.asList((long)1l, (long)2l))), (3l)).equals((new ArrayList<Long>(Arrays.asList((long)4l, (long)5l)))));
    assert(addAll((new ArrayList<Long>(Arrays.asList())), (3l)).equals((new ArrayList<Long>(Arrays.asList()))));
    }

}
"""

SUITE = Suite("java", PROMPT, TESTS)
add = SUITE.add

GOOD = "        ArrayList<Long> r = new ArrayList<>();\n        for (long v : x) r.add(v + k);\n"
GOOD += "        return r;\n"
BAD = "        return new ArrayList<Long>();\n"

add(
    "leaves early",
    EARLY,
    system_exit="        System.exit(0);\n" + BAD,
    halt="        Runtime.getRuntime().halt(0);\n" + BAD,
    static_initialiser=BAD + "    }\n    static { System.exit(0); }\n    static void g() {\n",
    exit_after_a_right_answer=GOOD.replace(
        "        return r;", "        System.exit(0); return r;"
    ),
    thread_that_exits="        new Thread(() -> System.exit(0)).start();\n"
    "        try { Thread.sleep(500); } catch (InterruptedException e) { }\n" + BAD,
    shutdown_hook="        Runtime.getRuntime().addShutdownHook(new Thread(() ->"
    " Runtime.getRuntime().halt(0)));\n        System.exit(1);\n" + BAD,
    kills_itself='        try { new ProcessBuilder("/bin/sh", "-c", "kill -9 $PPID").start()'
    ".waitFor(); Thread.sleep(500); } catch (Exception e) { }\n" + BAD,
)
add(
    "is equal to everything",
    FAIL,
    list_that_is_equal="        return new ArrayList<Long>() {\n"
    "            public boolean equals(Object o) { return true; } };\n",
    own_arraylist=BAD + "    }\n    static class Yes extends ArrayList<Long> {\n"
    "        public boolean equals(Object o) { return true; }\n    }\n    static void g() {\n",
    own_class_named_arraylist="        return null;\n    }\n"
    "    static class ArrayList<T> { ArrayList(Object... o) { }\n"
    "        public boolean equals(Object o) { return true; } }\n    static void g() {\n",
)
add(
    "looks for the expected values",
    FAIL,
    reads_its_class_file="        try { byte[] b = Problem.class.getResourceAsStream("
    '"Problem.class").readAllBytes();\n'
    '            if (new String(b).contains("asList")) k = k; else k = k + 1;\n'
    "            for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x;\n"
    "        } catch (Exception e) { }\n" + BAD,
    walks_the_stack="        for (StackTraceElement e : Thread.currentThread().getStackTrace())\n"
    '            if (e.getMethodName().equals("main") && e.getClassName().equals("Problem"))\n'
    "                { for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x; }\n"
    + BAD,
    reflects_on_the_judge='        try { Class.forName("flex.Judge").getDeclaredField("link")'
    '.setAccessible(true);\n            Class.forName("flex.Judge").getMethod("call", String.class,'
    ' String.class, String.class, Object[].class).invoke(null, "a", "b", "c", null); }\n'
    "        catch (Exception e) { throw new RuntimeException(e); }\n" + BAD,
    reads_files="        try { for (java.nio.file.Path p : (Iterable<java.nio.file.Path>) "
    'java.nio.file.Files.walk(java.nio.file.Path.of("/tmp"))::iterator)\n'
    "            if (java.nio.file.Files.isRegularFile(p) && new String(java.nio.file.Files"
    '.readAllBytes(p)).contains("assert")) { for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x; } }\n'
    "        catch (Exception e) { }\n" + BAD,
)
add(
    "patches the judge",
    FAIL,
    own_main=BAD + "    }\n    public static void main(String[] args) {\n    }\n"
    "    static void g() {\n",
    closes_the_class_early=BAD + "    }\n    public static void main(String[] args) { }\n}\n"
    "class Other {\n    static ArrayList<Long> addAll(ArrayList<Long> x, long k) {\n" + BAD,
    comments_out_the_tests=BAD + "    }\n    public static void main(String[] a) { }\n}\n/*",
    unicode_escapes="        return null; \\u007d \\u007d class Q \\u007b static void g() \\u007b\n",
    assertions_off="        ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(false);\n"
    "        Problem.class.getClassLoader().clearAssertionStatus();\n" + BAD,
    uncaught_handler="        Thread.setDefaultUncaughtExceptionHandler((t, e) ->"
    " Runtime.getRuntime().halt(0));\n" + BAD,
    prints_ok='        System.out.println("OK"); System.err.println("{\\"verdict\\":\\"pass\\"}");\n'
    + BAD,
    writes_to_the_pipe='        try (var o = new java.io.FileOutputStream("/proc/self/fd/4")) {\n'
    "            o.write(new byte[] {0, 0, 0, 1, 'V'}); } catch (Exception e) { }\n" + BAD,
    deeply_nested="        return " + "(" * 20000 + "null" + ")" * 20000 + ";\n",
    throws_an_assertion="        throw new AssertionError();\n",
    throws_an_error="        throw new Error() { public String getMessage() { System.exit(0);"
    " return null; } };\n",
)
add(
    "takes too much",
    LIMIT,
    endless_loop="        while (true) { }\n",
    endless_threads="        while (true) new Thread(() -> { while (true) { } }).start();\n",
    memory="        ArrayList<long[]> a = new ArrayList<>();\n"
    "        while (true) a.add(new long[1 << 20]);\n",
    memory_outside_the_heap="        ArrayList<Object> a = new ArrayList<>();\n"
    "        while (true) a.add(java.nio.ByteBuffer.allocateDirect(1 << 24));\n",
    endless_output='        while (true) System.out.println("xxxxxxxxxx".repeat(1000));\n',
    endless_recursion="        return addAll(x, k);\n",
    disk='        try (var o = new java.io.FileOutputStream("/tmp/x")) {\n'
    "            while (true) o.write(new byte[1 << 20]); }\n"
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n",
    children='        while (true) try { new ProcessBuilder("/bin/sleep", "1000").start(); }\n'
    "            catch (java.io.IOException e) { throw new RuntimeException(e); }\n",
    signals_ignored="        Runtime.getRuntime().addShutdownHook(new Thread(() -> {"
    " while (true) { } }));\n        System.exit(0);\n" + BAD,
)
add(
    "reaches outside",
    FAIL,
    reads_the_home='        return new ArrayList<>(List.of((long) new java.io.File("/root")'
    ".list().length));\n",
    network='        try { new java.net.Socket("1.1.1.1", 80).close(); }\n'
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n" + BAD,
    loopback='        try { new java.net.Socket("127.0.0.1", 22).close(); }\n'
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n" + BAD,
)
add(
    "is no text",
    EARLY,
    lone_surrogate='        String s = "\ud800";\n' + BAD,
    nothing="",
    unclosed_string='        return "',
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    leaves_a_thread="        new Thread(() -> { while (true) { } }).start();\n" + GOOD,
    prints_a_megabyte='        System.out.println("x".repeat(1000000));\n' + GOOD,
    closes_its_output="        System.out.close();\n" + GOOD,
    changes_its_argument="        for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k);\n"
    "        return x;\n",
    shutdown_hook_that_fails="        Runtime.getRuntime().addShutdownHook(new Thread(() ->"
    " Runtime.getRuntime().halt(1)));\n" + GOOD,
)
