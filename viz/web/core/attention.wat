;; The inner loops of attention.js with four numbers at a time. `python -m viz.web.assemble` writes attention_wasm.js.
;;
;; Addresses are in bytes. A matrix holds the vectors of one head side by side: number i of all vectors, then number
;; i + 1 of all vectors. A row of the matrix has `width` numbers, a multiple of sixteen; those beyond `count` are padding.
;; Buffers that hold one number for each vector have `width` numbers, too.
(module
  (memory (export "memory") 1)

  ;; scores[j] = scale · (vector · column j of the matrix); returns the largest.
  (func $score
    (param $vector i32) (param $depth i32) (param $matrix i32) (param $width i32) (param $scale f32) (param $scores i32)
    (result f32)
    (local $largest v128) (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $number v128) (local $factor v128)
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
      (local.set $row (i32.add (local.get $matrix) (local.get $j)))
      (local.set $at (local.get $vector))
      (loop $numbers
        (local.set $number (v128.load32_splat (local.get $at)))
        (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $number) (v128.load (local.get $row)))))
        (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $number) (v128.load offset=16 (local.get $row)))))
        (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $number) (v128.load offset=32 (local.get $row)))))
        (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $number) (v128.load offset=48 (local.get $row)))))
        (local.set $row (i32.add (local.get $row) (local.get $bytes)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $numbers (i32.lt_u (local.get $at) (local.get $end))))
      (local.set $a (f32x4.mul (local.get $a) (local.get $factor)))
      (local.set $b (f32x4.mul (local.get $b) (local.get $factor)))
      (local.set $c (f32x4.mul (local.get $c) (local.get $factor)))
      (local.set $d (f32x4.mul (local.get $d) (local.get $factor)))
      (local.set $row (i32.add (local.get $scores) (local.get $j)))
      (v128.store (local.get $row) (local.get $a))
      (v128.store offset=16 (local.get $row) (local.get $b))
      (v128.store offset=32 (local.get $row) (local.get $c))
      (v128.store offset=48 (local.get $row) (local.get $d))
      (local.set $largest
        (f32x4.max
          (local.get $largest)
          (f32x4.max (f32x4.max (local.get $a) (local.get $b)) (f32x4.max (local.get $c) (local.get $d)))))
      (local.set $j (i32.add (local.get $j) (i32.const 64)))
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
      (local.set $largest (f32x4.max (local.get $largest) (v128.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $all (i32.lt_u (local.get $at) (local.get $end))))
    (call $lanes (local.get $largest)))

  ;; scores[j] = exp(scores[j] - less[j]); returns their sum. `less` advances by `stride` bytes for four scores: 0 if one
  ;; number, written four times, is taken from all.
  ;;
  ;; exp(x) = 2^n · 2^f with n + f = x / log 2 and f in ±½; 2^f by its Taylor polynomial of degree 5, within 3e-6.
  (func $exponentiate (param $scores i32) (param $width i32) (param $less i32) (param $stride i32) (result f32)
    (local $x v128) (local $n v128) (local $f v128) (local $sum v128) (local $end i32)
    (local.set $end (i32.add (local.get $scores) (i32.shl (local.get $width) (i32.const 2))))
    (loop $all
      (local.set $x
        (f32x4.max
          (f32x4.mul
            (f32x4.sub (v128.load (local.get $scores)) (v128.load (local.get $less)))
            (v128.const f32x4 1.44269504 1.44269504 1.44269504 1.44269504))
          (v128.const f32x4 -126 -126 -126 -126)))
      (local.set $n (f32x4.nearest (local.get $x)))
      (local.set $f (f32x4.sub (local.get $x) (local.get $n)))
      (local.set $x (v128.const f32x4 0.00133335581 0.00133335581 0.00133335581 0.00133335581))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.00961812911 0.00961812911 0.00961812911 0.00961812911)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.0555041087 0.0555041087 0.0555041087 0.0555041087)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.240226507 0.240226507 0.240226507 0.240226507)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 0.693147181 0.693147181 0.693147181 0.693147181)))
      (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $f)) (v128.const f32x4 1 1 1 1)))
      ;; Adds n to the exponent of the number.
      (local.set $x
        (i32x4.add (local.get $x) (i32x4.shl (i32x4.trunc_sat_f32x4_s (local.get $n)) (i32.const 23))))
      (v128.store (local.get $scores) (local.get $x))
      (local.set $sum (f32x4.add (local.get $sum) (local.get $x)))
      (local.set $scores (i32.add (local.get $scores) (i32.const 16)))
      (local.set $less (i32.add (local.get $less) (local.get $stride)))
      (br_if $all (i32.lt_u (local.get $scores) (local.get $end))))
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $sum)) (f32x4.extract_lane 1 (local.get $sum)))
      (f32.add (f32x4.extract_lane 2 (local.get $sum)) (f32x4.extract_lane 3 (local.get $sum)))))

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

  ;; Adds weight · softmax(vector · keys) of the `cells` keys from `first` on to `out`. Writes the largest score and the sum
  ;; of the exponentials to address 0: their logarithm is largest + log(sum).
  (func (export "addRow")
    (param $vector i32) (param $depth i32) (param $keys i32) (param $count i32) (param $width i32) (param $scale f32)
    (param $scores i32) (param $first i32) (param $cells i32) (param $weight f32) (param $out i32)
    (local $largest f32) (local $sum f32)
    (local.set $largest (call $score
      (local.get $vector) (local.get $depth) (local.get $keys) (local.get $width) (local.get $scale) (local.get $scores)))
    (if (i32.lt_u (local.get $count) (local.get $width))
      (then (local.set $largest (call $best (local.get $scores) (local.get $count) (local.get $width)))))
    (v128.store (i32.const 16) (f32x4.splat (local.get $largest)))
    (local.set $sum (call $exponentiate (local.get $scores) (local.get $width) (i32.const 16) (i32.const 0)))
    (f32.store (i32.const 0) (local.get $largest))
    (f32.store (i32.const 4) (local.get $sum))
    (call $add
      (i32.add (local.get $scores) (i32.shl (local.get $first) (i32.const 2)))
      (local.get $cells) (f32.div (local.get $weight) (local.get $sum)) (local.get $out)))

  ;; Adds weight · exp(queries · vector - logSums), a column, of the `cells` queries from `first` on to `out`. `logSums` has
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
)
