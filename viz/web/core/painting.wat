;; Paints a map of numbers as a block of pixels: see pixels.js. `python -m viz.web.assemble` writes painting_wasm.js.
;;
;; Addresses are in bytes. The colour of a number is in a table, at the upper sixteen of its bits.
(module
  (memory (export "memory") 10)

  ;; Paints `height` rows of `width` pixels, `pitch` bytes from one to the next. `down` holds, for each row of pixels, how many
  ;; bytes before its row of numbers there are, and `across` the same for each pixel of a row; neither is empty.
  (func (export "paint")
    (param $table i32) (param $numbers i32) (param $down i32) (param $across i32)
    (param $width i32) (param $height i32) (param $to i32) (param $pitch i32)
    (local $y i32) (local $row i32) (local $before i32) (local $bytes i32) (local $pixel i32) (local $end i32) (local $at i32)
    (local.set $bytes (i32.shl (local.get $width) (i32.const 2)))
    (local.set $before (i32.const -1))
    (loop $rows
      (local.set $row (i32.load (local.get $down)))
      (if (i32.eq (local.get $row) (local.get $before))
        (then (call $copy (i32.sub (local.get $to) (local.get $pitch)) (local.get $to) (local.get $bytes)))
        (else
          (local.set $before (local.get $row))
          (local.set $row (i32.add (local.get $numbers) (local.get $row)))
          (local.set $at (local.get $across))
          (local.set $pixel (local.get $to))
          (local.set $end (i32.add (local.get $to) (local.get $bytes)))
          (loop $pixels
            (i32.store (local.get $pixel)
              (i32.load (i32.add (local.get $table)
                (i32.shl
                  (i32.load16_u offset=2 (i32.add (local.get $row) (i32.load (local.get $at))))
                  (i32.const 2)))))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (local.set $pixel (i32.add (local.get $pixel) (i32.const 4)))
            (br_if $pixels (i32.lt_u (local.get $pixel) (local.get $end))))))
      (local.set $to (i32.add (local.get $to) (local.get $pitch)))
      (local.set $down (i32.add (local.get $down) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $y) (local.get $height)))))

  ;; Copies some bytes, a multiple of four and not none.
  (func $copy (param $from i32) (param $to i32) (param $bytes i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $from) (i32.and (local.get $bytes) (i32.const -16))))
    (block $done
      (loop $sixteen
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (v128.store align=4 (local.get $to) (v128.load align=4 (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (br $sixteen)))
    (local.set $end (i32.add (local.get $from) (i32.and (local.get $bytes) (i32.const 15))))
    (block $rest
      (loop $four
        (br_if $rest (i32.ge_u (local.get $from) (local.get $end)))
        (i32.store (local.get $to) (i32.load (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (br $four))))
)
