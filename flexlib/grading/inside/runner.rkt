#lang racket/base
;; Runs a Racket program and its tests in one process, but in two namespaces. Read from standard input:
;; the secret word, a line, and then the tests. Program and tests have instances of their own of every
;; module but racket/base. The word and the namespace of the tests are local variables here, and no
;; parameter holds them while the program runs.
(define WRONG 3)
(define NO-PROGRAM 4)

(define (forms-of in)
  (define form (read in))
  (if (eof-object? form) '() (cons form (forms-of in))))

(define (entry-of form) ; the name in (let ((candidate NAME)) ...)
  (and (pair? form)
       (if (and (eq? (car form) 'candidate) (pair? (cdr form)) (symbol? (cadr form)))
           (cadr form)
           (or (entry-of (car form)) (entry-of (cdr form))))))

(define (checks-in form)
  (cond
    [(pair? form) (+ (checks-in (car form)) (checks-in (cdr form)))]
    [else (if (memq form '(check-within check-equal?)) 1 0)]))

;; What the program does: no continuation that it captures there can be entered again from elsewhere.
(define (apart thunk)
  (call-with-continuation-barrier thunk))

(define (run)
  (define out (current-output-port))
  (define err (current-error-port))
  (define leave (exit-handler)) ; the program may put another in its place, which does not end it
  (define word (read-line))
  (define forms (forms-of (current-input-port)))
  (define path (path->complete-path (vector-ref (current-command-line-arguments) 0)))
  (define (give-up code e)
    (write-string (if (exn? e) (exn-message e) "the program raised what is no exception") err)
    (newline err)
    (leave code))
  (define for-tests (make-base-namespace))
  (define entry (entry-of forms))
  (define backwards (reverse forms))
  (define-values (handler is-check? log)
    (parameterize ([current-namespace for-tests])
      (for-each eval (reverse (cdr backwards)))
      (values (dynamic-require 'rackunit 'current-check-handler)
              (dynamic-require 'rackunit 'exn:test:check?)
              (dynamic-require 'rackunit/log 'test-log))))
  (define raised #f)
  (handler (lambda (e) (unless (is-check? e) (set! raised (list e)))))
  (current-namespace (make-base-empty-namespace))
  (define function
    (with-handlers ([(lambda (e) #t)
                     (lambda (e)
                       (give-up (if (or (exn:fail:read? e) (exn:fail:syntax? e)) NO-PROGRAM 1) e))])
      (apart (lambda ()
               (dynamic-require path #f)
               (eval entry (module->namespace path))))))
  (define (candidate . arguments)
    (apart (lambda () (apply function arguments))))
  (namespace-set-variable-value! entry candidate #t for-tests)
  (define suite (namespace-variable-value (caar backwards) #t #f for-tests))
  (with-handlers ([(lambda (e) #t) (lambda (e) (give-up 1 e))])
    (suite))
  (cond
    [raised (give-up 1 (car raised))]
    ;; The log keeps the first failure for good: the program can have code run while the process ends, and
    ;; go on.
    [(not (equal? (log) (cons 0 (checks-in forms))))
     (write-string "a check did not hold\n" err)
     (leave WRONG)]
    [else
     (fprintf out "\n~a\n" word)
     (flush-output out)
     (leave 0)]))

(run)
