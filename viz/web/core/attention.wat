;; The inner loops of attention.js with four numbers at a time. `python -m viz.web.assemble` writes attention_wasm.js.
;;
;; Addresses are in bytes. A matrix holds the vectors of one head side by side: number i of all vectors, then number
;; i + 1 of all vectors. A row of the matrix has `width` numbers, a multiple of 32; those beyond `count` are padding
;; and may be anything. Buffers that hold one number for each vector have `width` numbers, too.
;;
;; Scores and logarithms are to the base 2 in here: `scale` brings log₂ e with it.
(module
  (memory (export "memory") 1)

  ;; scores[j] = scale · (vector · column j of the matrix); returns the largest. Thirty-two columns at a time.
  (func $score
    (param $vector i32) (param $depth i32) (param $matrix i32) (param $width i32) (param $scale f32) (param $scores i32)
    (result f32)
    (local $largest v128) (local $number v128) (local $factor v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (local $row i32) (local $at i32) (local $bytes i32) (local $j i32) (local $end i32)
    (local.set $factor (f32x4.splat (local.get $scale)))
    (local.set $largest (f32x4.splat (f32.const -1e30)))
    (local.set $bytes (i32.shl (local.get $width) (i32.const 2)))
    (local.set $end (i32.add (local.get $vector) (i32.shl (local.get $depth) (i32.const 2))))
    (loop $columns
      (local.set $a (v128.const f32x4 0 0 0 0))
      (local.set $b (v128.const f32x4 0 0 0 0))
      (local.set $c (v128.const f32x4 0 0 0 0))
      (local.set $d (v128.const f32x4 0 0 0 0))
      (local.set $e (v128.const f32x4 0 0 0 0))
      (local.set $f (v128.const f32x4 0 0 0 0))
      (local.set $g (v128.const f32x4 0 0 0 0))
      (local.set $h (v128.const f32x4 0 0 0 0))
      (local.set $row (i32.add (local.get $matrix) (local.get $j)))
      (local.set $at (local.get $vector))
      (loop $numbers
        (local.set $number (v128.load32_splat (local.get $at)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $number) (v128.load (local.get $row)))))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $number) (v128.load offset=16 (local.get $row)))))
        (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $number) (v128.load offset=32 (local.get $row)))))
        (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $number) (v128.load offset=48 (local.get $row)))))
        (local.set $e (f32x4.add (local.get $e) (f32x4.mul (local.get $number) (v128.load offset=64 (local.get $row)))))
        (local.set $f (f32x4.add (local.get $f) (f32x4.mul (local.get $number) (v128.load offset=80 (local.get $row)))))
        (local.set $g (f32x4.add (local.get $g) (f32x4.mul (local.get $number) (v128.load offset=96 (local.get $row)))))
        (local.set $h (f32x4.add (local.get $h) (f32x4.mul (local.get $number) (v128.load offset=112 (local.get $row)))))
        (local.set $row (i32.add (local.get $row) (local.get $bytes)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $numbers (i32.lt_u (local.get $at) (local.get $end))))
      (local.set $a (f32x4.mul (local.get $a) (local.get $factor)))
      (local.set $b (f32x4.mul (local.get $b) (local.get $factor)))
      (local.set $c (f32x4.mul (local.get $c) (local.get $factor)))
      (local.set $d (f32x4.mul (local.get $d) (local.get $factor)))
      (local.set $e (f32x4.mul (local.get $e) (local.get $factor)))
      (local.set $f (f32x4.mul (local.get $f) (local.get $factor)))
      (local.set $g (f32x4.mul (local.get $g) (local.get $factor)))
      (local.set $h (f32x4.mul (local.get $h) (local.get $factor)))
      (local.set $row (i32.add (local.get $scores) (local.get $j)))
      (v128.store (local.get $row) (local.get $a))
      (v128.store offset=16 (local.get $row) (local.get $b))
      (v128.store offset=32 (local.get $row) (local.get $c))
      (v128.store offset=48 (local.get $row) (local.get $d))
      (v128.store offset=64 (local.get $row) (local.get $e))
      (v128.store offset=80 (local.get $row) (local.get $f))
      (v128.store offset=96 (local.get $row) (local.get $g))
      (v128.store offset=112 (local.get $row) (local.get $h))
      (local.set $a (f32x4.pmax (f32x4.pmax (local.get $a) (local.get $b)) (f32x4.pmax (local.get $c) (local.get $d))))
      (local.set $e (f32x4.pmax (f32x4.pmax (local.get $e) (local.get $f)) (f32x4.pmax (local.get $g) (local.get $h))))
      (local.set $largest (f32x4.pmax (local.get $largest) (f32x4.pmax (local.get $a) (local.get $e))))
      (local.set $j (i32.add (local.get $j) (i32.const 128)))
      (br_if $columns (i32.lt_u (local.get $j) (local.get $bytes))))
    (call $lanes (local.get $largest)))

  ;; The largest of four numbers.
  (func $lanes (param $numbers v128) (result f32)
    (f32.max
      (f32.max (f32x4.extract_lane 0 (local.get $numbers)) (f32x4.extract_lane 1 (local.get $numbers)))
      (f32.max (f32x4.extract_lane 2 (local.get $numbers)) (f32x4.extract_lane 3 (local.get $numbers)))))

  ;; The largest of the first `count` scores. The padding becomes so low that its exponential is nothing.
  (func $best (param $scores i32) (param $count i32) (param $width i32) (result f32)
    (local $largest v128) (local $at i32) (local $end i32)
    (local.set $at (i32.add (local.get $scores) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $width) (i32.const 2))))
    (block $padded
      (loop $padding
        (br_if $padded (i32.ge_u (local.get $at) (local.get $end)))
        (f32.store (local.get $at) (f32.const -1e30))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $padding)))
    (local.set $largest (f32x4.splat (f32.const -1e30)))
    (local.set $at (local.get $scores))
    (loop $all
      (local.set $largest (f32x4.pmax (local.get $largest) (v128.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $all (i32.lt_u (local.get $at) (local.get $end))))
    (call $lanes (local.get $largest)))

  ;; scores[j] = 2^(scores[j] - less[j]) for `width` scores, a multiple of four; returns their sums, of every fourth score.
  ;; `less` advances by `stride` bytes for four scores: 0 if the same four numbers are taken from all.
  ;;
  ;; 2^x = 2^n · 2^f with n + f = x and f in ±½. Adding n to 1.5 · 2^23 + 127 rounds it, and leaves the exponent of 2^n in
  ;; the lowest bits. 2^f is a polynomial of degree 4 whose largest relative error, 2.6e-6, is the least (Remez). NaN stays.
  (func $exponentiate (param $scores i32) (param $width i32) (param $less i32) (param $stride i32) (result v128)
    (local $x v128) (local $n v128) (local $f v128) (local $sum v128) (local $end i32)
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $width) (i32.const 2))))
    (loop $all
      (local.set $x
        (f32x4.pmax
          (f32x4.sub (v128.load (local.get $scores)) (v128.load (local.get $less)))
          (v128.const f32x4 -126 -126 -126 -126)))
      (local.set $n (f32x4.add (local.get $x) (v128.const f32x4 12583039 12583039 12583039 12583039)))
      (local.set $f
        (f32x4.sub
          (local.get $x)
          (f32x4.sub (local.get $n) (v128.const f32x4 12583039 12583039 12583039 12583039))))
      (local.set $x (v128.const f32x4 0.0095701 0.0095701 0.0095701 0.0095701))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.05591786 0.05591786 0.05591786 0.05591786)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.24024745 0.24024745 0.24024745 0.24024745)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.69312181 0.69312181 0.69312181 0.69312181)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.99999926 0.99999926 0.99999926 0.99999926)))
      (local.set $x (f32x4.mul (local.get $x) (i32x4.shl (local.get $n) (i32.const 23))))
      (v128.store (local.get $scores) (local.get $x))
      (local.set $sum (f32x4.add (local.get $sum) (local.get $x)))
      (local.set $scores (i32.add (local.get $scores) (i32.const 16)))
      (local.set $less (i32.add (local.get $less) (local.get $stride)))
      (br_if $all (i32.lt_u (local.get $scores) (local.get $end))))
    (local.get $sum))

  ;; out[i] += factor · from[i] for `count` numbers, rounded up to a multiple of four.
  (func $add (param $from i32) (param $count i32) (param $factor f32) (param $out i32)
    (local $factors v128) (local $end i32)
    (local.set $factors (f32x4.splat (local.get $factor)))
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $all
      (v128.store (local.get $out)
        (f32x4.add
          (v128.load (local.get $out))
          (f32x4.mul (local.get $factors) (v128.load align=4 (local.get $from)))))
      (local.set $from (i32.add (local.get $from) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $all (i32.lt_u (local.get $out) (local.get $end)))))

  ;; Adds weight · softmax(vector · keys) of the `cells` keys from `first` on to `out`.
  (func (export "addRow")
    (param $vector i32) (param $depth i32) (param $keys i32) (param $count i32) (param $width i32) (param $scale f32)
    (param $scores i32) (param $first i32) (param $cells i32) (param $weight f32) (param $out i32)
    (local $largest f32) (local $sum v128)
    (local.set $largest (call $score
      (local.get $vector) (local.get $depth) (local.get $keys) (local.get $width) (local.get $scale) (local.get $scores)))
    (if (i32.lt_u (local.get $count) (local.get $width))
      (then (local.set $largest (call $best (local.get $scores) (local.get $count) (local.get $width)))))
    (v128.store (i32.const 16) (f32x4.splat (local.get $largest)))
    (local.set $sum (call $exponentiate (local.get $scores) (local.get $width) (i32.const 16) (i32.const 0)))
    (call $add
      (i32.add (local.get $scores) (i32.shl (local.get $first) (i32.const 2)))
      (local.get $cells)
      (f32.div
        (local.get $weight)
        (f32.add
          (f32.add (f32x4.extract_lane 0 (local.get $sum)) (f32x4.extract_lane 1 (local.get $sum)))
          (f32.add (f32x4.extract_lane 2 (local.get $sum)) (f32x4.extract_lane 3 (local.get $sum)))))
      (local.get $out)))

  ;; Adds weight · 2^(queries · vector - logSums), a column, of the `cells` queries from `first` on to `out`. `logSums` has
  ;; a number for each of all queries.
  (func (export "addColumn")
    (param $vector i32) (param $depth i32) (param $queries i32) (param $width i32) (param $scale f32)
    (param $scores i32) (param $logSums i32) (param $first i32) (param $cells i32) (param $weight f32) (param $out i32)
    (drop (call $score
      (local.get $vector) (local.get $depth) (local.get $queries) (local.get $width) (local.get $scale) (local.get $scores)))
    (drop (call $exponentiate (local.get $scores) (local.get $width) (local.get $logSums) (i32.const 16)))
    (call $add
      (i32.add (local.get $scores) (i32.shl (local.get $first) (i32.const 2)))
      (local.get $cells) (local.get $weight) (local.get $out)))

  ;; Writes the natural logarithm of Σⱼ 2^(query · key j), the divisor of a row, for the `cells` queries from column `first`
  ;; of the matrix on. Here the keys lie one after another; after an odd `count` of them the last one once more. With
  ;; `means`, adds all rows to it: four numbers for each key, whose sum is the key's.
  ;;
  ;; Sixteen queries and two keys at a time. `scores` has room for sixteen numbers for each key, and one more if `count` is
  ;; odd: of four queries for all keys, then of the next four. `logSums` has room for a multiple of sixteen.
  (func (export "normalise")
    (param $queries i32) (param $depth i32) (param $width i32) (param $first i32) (param $cells i32)
    (param $keys i32) (param $count i32) (param $scale f32) (param $scores i32) (param $logSums i32) (param $means i32)
    (local $column i32) (local $done i32) (local $apart i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $column (i32.add (local.get $queries) (i32.shl (local.get $first) (i32.const 2))))
    (local.set $apart (i32.shl (i32.and (i32.add (local.get $count) (i32.const 1)) (i32.const -2)) (i32.const 4)))
    (loop $groups
      (call $scoreGroup
        (local.get $column) (local.get $depth) (local.get $width) (local.get $keys) (local.get $apart) (local.get $scale)
        (local.get $scores))
      (local.set $a (call $finishFour (local.get $scores) (local.get $count) (local.get $logSums)))
      (local.set $b (call $finishFour
        (i32.add (local.get $scores) (local.get $apart)) (local.get $count) (i32.add (local.get $logSums) (i32.const 16))))
      (local.set $c (call $finishFour
        (i32.add (local.get $scores) (i32.mul (local.get $apart) (i32.const 2)))
        (local.get $count) (i32.add (local.get $logSums) (i32.const 32))))
      (local.set $d (call $finishFour
        (i32.add (local.get $scores) (i32.mul (local.get $apart) (i32.const 3)))
        (local.get $count) (i32.add (local.get $logSums) (i32.const 48))))
      (if (local.get $means)
        (then (call $addGroup
          (local.get $scores) (local.get $apart) (local.get $count) (i32.sub (local.get $cells) (local.get $done))
          (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $means))))
      (local.set $column (i32.add (local.get $column) (i32.const 64)))
      (local.set $logSums (i32.add (local.get $logSums) (i32.const 64)))
      (local.set $done (i32.add (local.get $done) (i32.const 16)))
      (br_if $groups (i32.lt_u (local.get $done) (local.get $cells)))))

  ;; The scores of sixteen queries with all keys, two keys at a time.
  (func $scoreGroup
    (param $column i32) (param $depth i32) (param $width i32) (param $keys i32) (param $apart i32) (param $scale f32)
    (param $scores i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (local $one v128) (local $other v128) (local $query v128) (local $factor v128)
    (local $row i32) (local $end i32) (local $size i32) (local $bytes i32) (local $last i32)
    (local.set $factor (f32x4.splat (local.get $scale)))
    (local.set $size (i32.shl (local.get $depth) (i32.const 2)))
    (local.set $bytes (i32.shl (local.get $width) (i32.const 2)))
    (local.set $last (i32.add (local.get $scores) (local.get $apart)))
    (loop $pairs
      (local.set $a (v128.const f32x4 0 0 0 0))
      (local.set $b (v128.const f32x4 0 0 0 0))
      (local.set $c (v128.const f32x4 0 0 0 0))
      (local.set $d (v128.const f32x4 0 0 0 0))
      (local.set $e (v128.const f32x4 0 0 0 0))
      (local.set $f (v128.const f32x4 0 0 0 0))
      (local.set $g (v128.const f32x4 0 0 0 0))
      (local.set $h (v128.const f32x4 0 0 0 0))
      (local.set $row (local.get $column))
      (local.set $end (i32.add (local.get $keys) (local.get $size)))
      (loop $numbers
        (local.set $one (v128.load32_splat (local.get $keys)))
        (local.set $other (v128.load32_splat (i32.add (local.get $keys) (local.get $size))))
        (local.set $query (v128.load align=4 (local.get $row)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $one) (local.get $query))))
        (local.set $e (f32x4.add (local.get $e) (f32x4.mul (local.get $other) (local.get $query))))
        (local.set $query (v128.load offset=16 align=4 (local.get $row)))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $one) (local.get $query))))
        (local.set $f (f32x4.add (local.get $f) (f32x4.mul (local.get $other) (local.get $query))))
        (local.set $query (v128.load offset=32 align=4 (local.get $row)))
        (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $one) (local.get $query))))
        (local.set $g (f32x4.add (local.get $g) (f32x4.mul (local.get $other) (local.get $query))))
        (local.set $query (v128.load offset=48 align=4 (local.get $row)))
        (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $one) (local.get $query))))
        (local.set $h (f32x4.add (local.get $h) (f32x4.mul (local.get $other) (local.get $query))))
        (local.set $row (i32.add (local.get $row) (local.get $bytes)))
        (local.set $keys (i32.add (local.get $keys) (i32.const 4)))
        (br_if $numbers (i32.lt_u (local.get $keys) (local.get $end))))
      (local.set $keys (i32.add (local.get $keys) (local.get $size)))
      (local.set $row (local.get $scores))
      (v128.store (local.get $row) (f32x4.mul (local.get $a) (local.get $factor)))
      (v128.store offset=16 (local.get $row) (f32x4.mul (local.get $e) (local.get $factor)))
      (local.set $row (i32.add (local.get $row) (local.get $apart)))
      (v128.store (local.get $row) (f32x4.mul (local.get $b) (local.get $factor)))
      (v128.store offset=16 (local.get $row) (f32x4.mul (local.get $f) (local.get $factor)))
      (local.set $row (i32.add (local.get $row) (local.get $apart)))
      (v128.store (local.get $row) (f32x4.mul (local.get $c) (local.get $factor)))
      (v128.store offset=16 (local.get $row) (f32x4.mul (local.get $g) (local.get $factor)))
      (local.set $row (i32.add (local.get $row) (local.get $apart)))
      (v128.store (local.get $row) (f32x4.mul (local.get $d) (local.get $factor)))
      (v128.store offset=16 (local.get $row) (f32x4.mul (local.get $h) (local.get $factor)))
      (local.set $scores (i32.add (local.get $scores) (i32.const 32)))
      (br_if $pairs (i32.lt_u (local.get $scores) (local.get $last)))))

  ;; Makes exponentials, relative to the largest, of the scores of four queries with all keys. Writes the logarithms of their
  ;; sums, and returns what the exponentials are to be divided by.
  ;;
  ;; log₂ x = n + log₂ m with m in √½..√2, and log m = 2 artanh((m - 1) / (m + 1)), by the first four terms of its series.
  (func $finishFour (param $scores i32) (param $count i32) (param $logSums i32) (result v128)
    (local $largest v128) (local $sum v128) (local $n v128) (local $t v128) (local $square v128) (local $at i32) (local $end i32)
    (local.set $largest (v128.load (local.get $scores)))
    (local.set $at (local.get $scores))
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $count) (i32.const 4))))
    (loop $all
      (local.set $largest (f32x4.pmax (local.get $largest) (v128.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $all (i32.lt_u (local.get $at) (local.get $end))))
    (v128.store (i32.const 16) (local.get $largest))
    (local.set $sum (call $exponentiate
      (local.get $scores) (i32.shl (local.get $count) (i32.const 2)) (i32.const 16) (i32.const 0)))
    (local.set $n
      (i32x4.shr_s (i32x4.sub (local.get $sum) (i32x4.splat (i32.const 0x3f3504f3))) (i32.const 23))) ;; less the bits of √½
    (local.set $t (i32x4.sub (local.get $sum) (i32x4.shl (local.get $n) (i32.const 23))))
    (local.set $t
      (f32x4.div
        (f32x4.sub (local.get $t) (v128.const f32x4 1 1 1 1))
        (f32x4.add (local.get $t) (v128.const f32x4 1 1 1 1))))
    (local.set $square (f32x4.mul (local.get $t) (local.get $t)))
    (local.set $t
      (f32x4.mul
        (local.get $t)
        (f32x4.add
          (v128.const f32x4 2 2 2 2)
          (f32x4.mul
            (local.get $square)
            (f32x4.add
              (v128.const f32x4 0.66666667 0.66666667 0.66666667 0.66666667)
              (f32x4.mul
                (local.get $square)
                (f32x4.add
                  (v128.const f32x4 0.4 0.4 0.4 0.4)
                  (f32x4.mul (local.get $square) (v128.const f32x4 0.28571429 0.28571429 0.28571429 0.28571429)))))))))
    (v128.store (local.get $logSums)
      (f32x4.add
        (f32x4.add
          (local.get $t)
          (f32x4.mul
            (f32x4.add (local.get $largest) (f32x4.convert_i32x4_s (local.get $n)))
            (v128.const f32x4 0.69314718 0.69314718 0.69314718 0.69314718)))
        (f32x4.sub (local.get $sum) (local.get $sum)))) ;; NaN stays
    (local.get $sum))

  ;; Adds the rows of the first `cells` of sixteen queries, of which `$scoreGroup` and `$finishFour` made exponentials and
  ;; sums, to four numbers for each key.
  (func $addGroup
    (param $scores i32) (param $apart i32) (param $count i32) (param $cells i32)
    (param $a v128) (param $b v128) (param $c v128) (param $d v128) (param $means i32)
    (local $cellsOf v128) (local $inA v128) (local $inB v128) (local $inC v128) (local $inD v128)
    (local $end i32) (local $second i32) (local $third i32) (local $fourth i32)
    (local.set $cellsOf (i32x4.splat (local.get $cells)))
    (local.set $inA (i32x4.lt_s (v128.const i32x4 0 1 2 3) (local.get $cellsOf)))
    (local.set $inB (i32x4.lt_s (v128.const i32x4 4 5 6 7) (local.get $cellsOf)))
    (local.set $inC (i32x4.lt_s (v128.const i32x4 8 9 10 11) (local.get $cellsOf)))
    (local.set $inD (i32x4.lt_s (v128.const i32x4 12 13 14 15) (local.get $cellsOf)))
    (local.set $a (f32x4.div (v128.const f32x4 1 1 1 1) (local.get $a)))
    (local.set $b (f32x4.div (v128.const f32x4 1 1 1 1) (local.get $b)))
    (local.set $c (f32x4.div (v128.const f32x4 1 1 1 1) (local.get $c)))
    (local.set $d (f32x4.div (v128.const f32x4 1 1 1 1) (local.get $d)))
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $count) (i32.const 4))))
    (local.set $second (i32.add (local.get $scores) (local.get $apart)))
    (local.set $third (i32.add (local.get $second) (local.get $apart)))
    (local.set $fourth (i32.add (local.get $third) (local.get $apart)))
    (loop $all
      (v128.store (local.get $means)
        (f32x4.add
          (v128.load (local.get $means))
          (f32x4.add
            (f32x4.add
              (v128.and (local.get $inA) (f32x4.mul (v128.load (local.get $scores)) (local.get $a)))
              (v128.and (local.get $inB) (f32x4.mul (v128.load (local.get $second)) (local.get $b))))
            (f32x4.add
              (v128.and (local.get $inC) (f32x4.mul (v128.load (local.get $third)) (local.get $c)))
              (v128.and (local.get $inD) (f32x4.mul (v128.load (local.get $fourth)) (local.get $d)))))))
      (local.set $means (i32.add (local.get $means) (i32.const 16)))
      (local.set $scores (i32.add (local.get $scores) (i32.const 16)))
      (local.set $second (i32.add (local.get $second) (i32.const 16)))
      (local.set $third (i32.add (local.get $third) (i32.const 16)))
      (local.set $fourth (i32.add (local.get $fourth) (i32.const 16)))
      (br_if $all (i32.lt_u (local.get $scores) (local.get $end)))))

  ;; Makes a matrix of `count` vectors of `depth` floats that lie one after another. It writes whole groups of four rows and
  ;; of four columns, and may read up to three vectors and a number more.
  (func (export "transpose") (param $from i32) (param $count i32) (param $depth i32) (param $matrix i32) (param $width i32)
    (local $size i32) (local $at i32) (local $end i32) (local $to i32) (local $token i32)
    (local.set $size (i32.shl (local.get $depth) (i32.const 2)))
    (loop $tokens
      (local.set $at (local.get $from))
      (local.set $end (i32.add (local.get $from) (local.get $size)))
      (local.set $to (i32.add (local.get $matrix) (i32.shl (local.get $token) (i32.const 2))))
      (loop $numbers
        (call $storeFour
          (v128.load align=4 (local.get $at))
          (v128.load align=4 (i32.add (local.get $at) (local.get $size)))
          (v128.load align=4 (i32.add (local.get $at) (i32.shl (local.get $size) (i32.const 1))))
          (v128.load align=4 (i32.add (local.get $at) (i32.mul (local.get $size) (i32.const 3))))
          (local.get $to) (i32.shl (local.get $width) (i32.const 2)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.shl (local.get $width) (i32.const 4))))
        (br_if $numbers (i32.lt_u (local.get $at) (local.get $end))))
      (local.set $from (i32.add (local.get $from) (i32.shl (local.get $size) (i32.const 2))))
      (local.set $token (i32.add (local.get $token) (i32.const 4)))
      (br_if $tokens (i32.lt_u (local.get $token) (local.get $count)))))

  ;; Stores four numbers of each of four vectors as four rows of a matrix, `bytes` apart.
  (func $storeFour (param $a v128) (param $b v128) (param $c v128) (param $d v128) (param $to i32) (param $bytes i32)
    (local $ab v128) (local $cd v128) (local $abAfter v128) (local $cdAfter v128)
    (local.set $ab (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b)))
    (local.set $cd (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d)))
    (local.set $abAfter (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b)))
    (local.set $cdAfter (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d)))
    (v128.store (local.get $to) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab) (local.get $cd)))
    (local.set $to (i32.add (local.get $to) (local.get $bytes)))
    (v128.store (local.get $to) (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $ab) (local.get $cd)))
    (local.set $to (i32.add (local.get $to) (local.get $bytes)))
    (v128.store (local.get $to)
      (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $abAfter) (local.get $cdAfter)))
    (local.set $to (i32.add (local.get $to) (local.get $bytes)))
    (v128.store (local.get $to)
      (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $abAfter) (local.get $cdAfter))))

  ;; Writes `count` numbers in half precision as floats, rounded up to a multiple of eight.
  (func (export "widen") (param $from i32) (param $count i32) (param $to i32)
    (local $eight v128) (local $end i32)
    (local.set $end (i32.add (local.get $from) (i32.shl (local.get $count) (i32.const 1))))
    (loop $all
      (local.set $eight (v128.load align=2 (local.get $from)))
      (v128.store align=4 (local.get $to) (call $widenFour (i32x4.extend_low_i16x8_s (local.get $eight))))
      (v128.store offset=16 align=4 (local.get $to) (call $widenFour (i32x4.extend_high_i16x8_s (local.get $eight))))
      (local.set $from (i32.add (local.get $from) (i32.const 16)))
      (local.set $to (i32.add (local.get $to) (i32.const 32)))
      (br_if $all (i32.lt_u (local.get $from) (local.get $end)))))

  ;; Four numbers in half precision, extended with their signs, as floats. With its bits in their places, and the exponent's
  ;; bias as it was, a number is 2⁻¹¹² times what it is; infinity and NaN get the highest exponent.
  (func $widenFour (param $four v128) (result v128)
    (v128.or
      (f32x4.mul
        (v128.and
          (i32x4.shl (local.get $four) (i32.const 13))
          (v128.const i32x4 0x8fffe000 0x8fffe000 0x8fffe000 0x8fffe000))
        (v128.const f32x4 0x1p112 0x1p112 0x1p112 0x1p112))
      (v128.and
        (i32x4.eq
          (v128.and (local.get $four) (v128.const i32x4 0x7c00 0x7c00 0x7c00 0x7c00))
          (v128.const i32x4 0x7c00 0x7c00 0x7c00 0x7c00))
        (v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000))))

  ;; The same of packed vectors: see compact.js. They follow the scales of their channels.
  (func (export "unpack") (param $from i32) (param $count i32) (param $depth i32) (param $matrix i32) (param $width i32)
    (local $first i32) (local $scales i32) (local $scale v128) (local $size i32) (local $at i32) (local $end i32) (local $to i32) (local $token i32)
    (local.set $first (local.get $from))
    (local.set $from (i32.add (local.get $from) (i32.shl (local.get $depth) (i32.const 2))))
    (local.set $size (i32.mul (i32.shr_u (i32.add (local.get $depth) (i32.const 3)) (i32.const 2)) (i32.const 5)))
    (loop $tokens
      (local.set $at (local.get $from))
      (local.set $end (i32.add (local.get $from) (local.get $size)))
      (local.set $to (i32.add (local.get $matrix) (i32.shl (local.get $token) (i32.const 2))))
      (local.set $scales (local.get $first))
      (loop $numbers
        (local.set $scale (v128.load align=1 (local.get $scales)))
        (call $storeFour
          (f32x4.mul (local.get $scale) (call $unpackFour (local.get $at)))
          (f32x4.mul (local.get $scale) (call $unpackFour (i32.add (local.get $at) (local.get $size))))
          (f32x4.mul (local.get $scale) (call $unpackFour (i32.add (local.get $at) (i32.shl (local.get $size) (i32.const 1)))))
          (f32x4.mul (local.get $scale) (call $unpackFour (i32.add (local.get $at) (i32.mul (local.get $size) (i32.const 3)))))
          (local.get $to) (i32.shl (local.get $width) (i32.const 2)))
        (local.set $scales (i32.add (local.get $scales) (i32.const 16)))
        (local.set $at (i32.add (local.get $at) (i32.const 5)))
        (local.set $to (i32.add (local.get $to) (i32.shl (local.get $width) (i32.const 4))))
        (br_if $numbers (i32.lt_u (local.get $at) (local.get $end))))
      (local.set $from (i32.add (local.get $from) (i32.shl (local.get $size) (i32.const 2))))
      (local.set $token (i32.add (local.get $token) (i32.const 4)))
      (br_if $tokens (i32.lt_u (local.get $token) (local.get $count)))))

  ;; Four whole numbers of ten bits each, the highest bit first, less 512.
  (func $unpackFour (param $at i32) (result v128)
    (f32x4.convert_i32x4_s
      (i32x4.sub
        (v128.and
          (i32x4.shr_u
            (i32x4.mul
              (i8x16.shuffle 1 0 16 16 2 1 16 16 3 2 16 16 4 3 16 16
                (v128.load64_zero align=1 (local.get $at)) (v128.const i32x4 0 0 0 0))
              (v128.const i32x4 1 4 16 64))
            (i32.const 6))
          (v128.const i32x4 1023 1023 1023 1023))
        (v128.const i32x4 512 512 512 512))))
)
