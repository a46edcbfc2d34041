<?php
// Runs a PHP program and then its tests, which come on standard input behind the secret word. Functions and
// classes cannot be declared twice in PHP, and a local variable of a function that takes no arguments
// is seen from nowhere else, so that neither word nor tests are within the program's reach.
const FLEX_WRONG = 3;
const FLEX_NO_PROGRAM = 4;

function flex_load(): void
{
    require $GLOBALS['argv'][1];
}

// The tests begin with this: a program that ran them itself could try answers on them.
function flex_once(): void
{
    static $entered = false;
    if ($entered) {
        exit(1);
    }
    $entered = true;
}

function flex_run(): void
{
    $out = fopen('php://stdout', 'w');
    $err = fopen('php://stderr', 'w');
    $word = trim((string) fgets(STDIN));
    $tests = (string) stream_get_contents(STDIN);
    $tests = str_replace("function test(): void {\n", "function test(): void {\n    flex_once();\n", $tests);
    fclose(STDIN);
    try {
        flex_load();
    } catch (ParseError $error) {
        fwrite($err, $error->getMessage() . ' on line ' . $error->getLine() . "\n");
        exit(FLEX_NO_PROGRAM);
    }
    $held = false;
    try {
        eval($tests . "\n\$held = true;");
    } catch (Exception $error) {
        if (get_class($error) === 'Exception' && $error->getMessage() === 'Test failed!') {
            fwrite($err, "a test did not hold, line {$error->getLine()}\n");
            exit(FLEX_WRONG);
        }
        throw $error;
    }
    while (ob_get_level() > 0 && @ob_end_clean()) {
    }
    if ($held === true) {
        fwrite($out, "\n$word\n");
    }
}

flex_run();
