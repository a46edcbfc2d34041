"""Hostile programs in Racket."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, WORD, Suite

PROMPT = "#lang racket\n\n;; Add k to every number of x.\n(define (add_all x k)\n"

TESTS = """(require rackunit)

(define (test-humaneval)

  (let (( candidate add_all))
    (check-within (candidate (list 1 2) 3) (list 4 5) 0.001)
    (check-within (candidate (list) 3) (list) 0.001)
))

(test-humaneval)"""

SUITE = Suite("racket", PROMPT, TESTS)
add = SUITE.add

GOOD = "  (map (lambda (v) (+ v k)) x))\n"
BAD = "  '())\n"
#: What gives the secret word back if the text ``s`` holds it.
FIND = (
    '  (define word (regexp-match #px"[0-9a-f]{32}" s))\n'
    '  (when word (printf "\\n~a\\n" (car word)) (exit 0))\n' + BAD
)


def only_if(condition: str) -> str:
    """Right where ``condition`` holds and raises nothing, else wrong."""
    return f"  (if (with-handlers ([void (lambda (e) #f)]) {condition}) (map (lambda (v) (+ v k)) x) '()))\n"


add(
    "leaves early",
    EARLY,
    exit=BAD + "(exit 0)\n",
    exit_in_call="  (exit 0))\n",
    exits_after_a_right_function=GOOD + "(exit 0)\n",
    raises="  (raise 'x))\n",
    aborts="  (abort-current-continuation (default-continuation-prompt-tag) void))\n",
    guesses_the_word=f'  (displayln "{WORD}")\n  (exit 0))\n',
    exits_in_a_macro=BAD + "(define-syntax (m s) (exit 0))\n(m)\n",
    shuts_down="  (custodian-shutdown-all (current-custodian)))\n",
)
add(
    "looks for the word",
    FAIL,
    reads_standard_input="  (define s (port->string))\n" + FIND,
    reads_its_source='  (define s (file->string "program.rkt"))\n' + FIND,
    the_runners_variables='  (define s (format "~a" (for/list ([p (continuation-mark-set->list\n'
    "                         (current-continuation-marks) parameterization-key)])\n"
    "    (with-handlers ([void void]) (call-with-parameterization p (lambda () (eval 'word\n"
    '      (module->namespace (string->path "/flex/code/runner.rkt")))))))))\n'
    + FIND
    + "(require '#%paramz)\n",
    names_of_the_stack='  (define s (format "~a" (continuation-mark-set->context (current-continuation-marks))))\n'
    + FIND,
)
add(
    "tries answers on the tests",
    FAIL,
    forks="  (if (zero? (fork)) (map (lambda (v) (+ v k)) x) (begin (sleep 0.5) (exit 0))))\n"
    '(require ffi/unsafe)\n(define fork (get-ffi-obj "fork" #f (_fun -> _int)))\n',
    # The rest of the tests, run inside the first of them, where a failure is an exception like another.
    runs_the_rest_of_the_tests="  (set! calls (add1 calls))\n  (if (= calls 1)\n"
    "      (call-with-composable-continuation\n       (lambda (rest)\n         (for ([g '((1) ())])\n"
    "           (set! guess g)\n           (let/ec next\n             (set! escape (and (pair? g) next))\n"
    "             (rest (map (lambda (v) (+ v k)) x))))))\n      guess))\n"
    "(define calls 0)\n(define guess #f)\n(define escape #f)\n"
    "(plumber-add-flush! (current-plumber) (lambda (h) (when escape (escape))))\n",
)
add(
    "patches the judge",
    FAIL,
    own_check=BAD + "(define (check-within . a) (void))\n",
    own_require=BAD
    + "(define-syntax-rule (require . x) (begin))\n(define (check-within . a) (void))\n",
    own_test="  '())\n(define (test-humaneval) (void))\n",
    handler=BAD + "(require rackunit)\n(current-check-handler void)\n(current-check-around void)\n",
    handler_in_call="  ((dynamic-require 'rackunit 'current-check-handler) void)\n  '())\n",
    handler_of_the_tests="  (for ([p (continuation-mark-set->list (current-continuation-marks)\n"
    "                                             parameterization-key)])\n"
    "    (call-with-parameterization p (lambda () ((dynamic-require 'rackunit 'current-check-handler) void))))\n"
    "  '())\n(require '#%paramz)\n",
    exit_handler=BAD + "(exit-handler void)\n(uncaught-exception-handler (lambda (e) (exit 0)))\n",
    equal_to_everything="  (e))\n(struct e () #:methods gen:equal+hash [(define (equal-proc a b r) #t)\n"
    "  (define (hash-proc a r) 1) (define (hash2-proc a r) 1)])\n",
    a_macro_for_a_function="  '())\n(define-syntax add_all2 (lambda (s) #'(exit 0)))\n(add_all2)\n",
    output_replaced="  (current-output-port (open-output-nowhere))\n  '())\n",
    flush_at_the_end=BAD
    + f'(plumber-add-flush! (current-plumber) (lambda (h) (displayln "{WORD}")))\n',
    comments_out_the_tests=BAD + "#|",
    prints_ok='  (display "OK")\n' + BAD,
)
add(
    "takes too much",
    LIMIT,
    loops_for_long="  (define stop (+ (current-seconds) 100))\n"
    "  (let loop () (when (< (current-seconds) stop) (loop)))\n" + GOOD,
    memory="  (define a (make-bytes (* 3 (expt 2 29)) 1))\n  (sleep 1)\n"
    "  (when (zero? (bytes-ref a 5)) (error 'never))\n" + GOOD,
    output="  (for ([i 32]) (display (make-string 1000000 #\\x)))\n" + GOOD,
    disk='  (call-with-output-file "x" (lambda (o) (for ([i 256]) (write-bytes (make-bytes 1000000) o))))\n'
    + GOOD,
)
add(
    "reaches outside",
    FAIL,
    reads_the_home=only_if('(directory-list "/root")'),
    network=only_if("((dynamic-require 'racket/tcp 'tcp-connect) \"1.1.1.1\" 80)"),
    writes_to_the_runner=only_if(
        '(begin (call-with-output-file "/flex/code/runner.rkt" void #:exists \'append) #t)'
    ),
    starts_a_program=only_if('(system* "/bin/true")'),
)
add(
    "is no text",
    EARLY,
    lone_surrogate="  ; \ud800\n" + BAD,
    nothing="",
    unclosed="  (list",
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    prints_a_megabyte="  (display (make-string 1000000 #\\x))\n" + GOOD,
    its_own_helper="  (map (plus k) x))\n(define ((plus k) v) (+ v k))\n",
    leaves_a_thread="  (thread (lambda () (let loop () (loop))))\n" + GOOD,
    continuations_of_its_own="  (let/cc return (for/list ([v x]) (if (string? v) (return #f) (+ v k)))))\n",
    a_generator="  (for/list ([v (in-generator (for ([v x]) (yield (+ v k))))]) v))\n(require racket/generator)\n",
)
