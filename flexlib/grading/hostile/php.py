"""Hostile programs in PHP."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, WORD, Suite

PROMPT = "<?php\n// Add k to every number of x.\nfunction add_all($x, $k) {\n"

TESTS = """function candidate(...$args) {
    return add_all(...$args);
}

function test(): void {
    if (candidate(array(1, 2), 3) !== array(4, 5)) { throw new Exception("Test failed!"); }
    if (candidate(array(), 3) !== array()) { throw new Exception("Test failed!"); }
}

test();
"""

SUITE = Suite("php", PROMPT, TESTS)
add = SUITE.add

GOOD = "    return array_map(function ($v) use ($k) { return $v + $k; }, $x);\n}\n"
BAD = "    return array();\n}\n"
#: What gives the secret word back if the text ``$s`` holds it.
FIND = (
    "    if (preg_match('/\\b[0-9a-f]{32}\\b/', $s, $m)) {\n"
    '        echo "\\n$m[0]\\n";\n        exit(0);\n    }\n' + BAD
)


def only_if(condition: str) -> str:
    """Right where ``condition`` holds, else wrong."""
    return f"    if (!({condition})) return array();\n{GOOD}"


add(
    "leaves early",
    EARLY,
    exit_0=BAD + "exit(0);\n",
    exit_in_call="    exit(0);\n}\n",
    exits_after_a_right_function=GOOD + "exit(0);\n",
    returns_from_the_file_with_a_wrong_function="    exit;\n}\nreturn;\n",
    halts_the_compiler="    die();\n}\n__halt_compiler();",
    guesses_the_word=f"    echo '{WORD}';\n    exit(0);\n" + BAD,
)
add(
    "runs code at the end",
    FAIL,
    shutdown_function=BAD
    + f"register_shutdown_function(function () {{ echo '{WORD}'; exit(0); }});\n",
    exception_handler=BAD + "set_exception_handler(function () { exit(0); });\n",
    destructor=BAD + "class D { function __destruct() { exit(0); } }\n$d = new D();\n",
    output_callback=BAD + f"ob_start(function ($b) {{ return '{WORD}'; }});\n",
    ticks=BAD + "declare(ticks=1);\nregister_tick_function(function () { exit(0); });\n",
)
add(
    "looks for the word",
    FAIL,
    reads_standard_input="    $s = stream_get_contents(fopen('php://stdin', 'r'));\n" + FIND,
    reads_its_source="    $s = file_get_contents(__FILE__);\n" + FIND,
    reads_the_runner="    $s = '';\n    foreach (get_included_files() as $f) $s .= file_get_contents($f);\n"
    + FIND,
    walks_the_stack="    $s = print_r([debug_backtrace(), $GLOBALS, get_defined_vars()], true);\n"
    + FIND,
    reads_open_files="    $s = '';\n    foreach (get_resources() as $r) $s .= @stream_get_contents($r);\n"
    + FIND,
    reads_its_memory="    $s = '';\n    foreach (@file('/proc/self/maps') ?: [] as $l) {\n"
    "        if (!preg_match('/^(\\w+)-(\\w+) rw/', $l, $m)) continue;\n"
    "        $f = fopen('/proc/self/mem', 'r');\n        fseek($f, hexdec($m[1]));\n"
    "        $t = @stream_get_contents($f, hexdec($m[2]) - hexdec($m[1]));\n"
    "        if (preg_match('/ \\0{7}([0-9a-f]{32})\\0/', $t, $m)) $s = $m[1];\n    }\n" + FIND,
    calls_the_runner="    $GLOBALS['argv'][1] = 'x.php';\n    file_put_contents('x.php', '<?php');\n"
    "    try {\n        flex_run();\n    } catch (Throwable $e) {\n        return array();\n    }\n"
    + GOOD,
    calls_the_c_library="    try {\n        FFI::cdef('int getpid();', 'libc.so.6')->getpid();\n"
    "    } catch (Throwable $e) {\n        return array();\n    }\n" + GOOD,
)
add(
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="    global $g;\n    $right = fn() => array_map(fn($v) => $v + $k, $x);\n"
    "    if ($g === null) foreach ([1, 2] as $g) try { test(); break; } catch (Exception $e) {}\n"
    "    return $g === 2 ? $right() : array(1);\n}\n",
    forks="    if (!function_exists('pcntl_fork')) exit(1);\n    if (pcntl_fork() === 0)"
    " return count($x) ? [4, 5] : [];\n    pcntl_wait($s);\n    exit(0);\n}\n",
    forks_by_a_shell=only_if("@shell_exec('echo 1; true')"),
)
add(
    "patches the judge",
    FAIL,
    own_test=BAD + "function test(): void {}\n",
    own_test_later=BAD + "if (true) { function test(): void {} }\n",
    own_candidate=BAD + "function candidate(...$a) { return $a[0] === [] ? [] : [4, 5]; }\n",
    own_exception=only_if("!(new ReflectionClass('Exception'))->isInternal()")
    + "class Exception {}\n",
    alias_of_the_exception=only_if("@class_alias('Other', 'Exception')") + "class Other {}\n",
    a_namespace="    return \\other\\right($x, $k);\n}\nnamespace other;\nclass Exception {}\n"
    "function right($x, $k) {\n" + GOOD,
    an_object=GOOD.replace("return array_map(", "return new ArrayObject(array_map(").replace(
        "$x);", "$x));"
    ),
    leaves_php=BAD + "?>\n",
    prints_ok="    echo 'OK';\n" + BAD,
)
add(
    "takes too much",
    LIMIT,
    loops_for_long="    for ($end = time() + 100; time() < $end;);\n" + GOOD,
    memory="    $a = str_repeat('x', 3 << 29);\n    sleep(1);\n" + GOOD,
    output="    for ($i = 0; $i < 32; $i++) echo str_repeat('x', 1 << 20);\n" + GOOD,
    endless_recursion="    return add_all($x, $k);\n}\n",
    children="    for ($i = 0; $i < 99; $i++) if (!@popen('sleep 9', 'r')) exit(1);\n" + GOOD,
    disk="    for ($i = 0; $i < 256; $i++)"
    " if (!@file_put_contents('x', str_repeat('x', 1 << 20), FILE_APPEND)) exit(1);\n" + GOOD,
)
add(
    "reaches outside",
    FAIL,
    reads_the_home=only_if("@scandir('/root')"),
    starts_a_program=only_if("@exec('echo 1')"),
    sees_the_network=only_if("count(net_get_interfaces()) > 1"),
    writes_to_the_runner=only_if(
        "@file_put_contents('/flex/code/runner.php', '', FILE_APPEND) !== false"
    ),
)
add("is no text", EARLY, lone_surrogate="    return '\ud800';\n}\n", unclosed="    return [")
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    prints_a_megabyte="    echo str_repeat('x', 1000000);\n" + GOOD,
    changes_folder="    @mkdir('d');\n    chdir('d');\n" + GOOD,
    leaves_a_buffer=GOOD + "ob_start();\necho 'x';\n",
    returns_from_the_file=GOOD + "return;\n",
    closes_its_output=GOOD + "fclose(STDOUT);\n",
    warns="    echo $missing;\n" + GOOD,
)
