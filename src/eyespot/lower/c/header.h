/* @ABOUT@. Written by eyespot.

   In:  EYESPOT_HEIGHT x EYESPOT_WIDTH pixels of 8-bit red, green and blue, row by row, nothing subtracted or divided.
        @GEOMETRY@
   Out: EYESPOT_CLASSES whole numbers; times EYESPOT_LOGIT_STEP they are the network's logits. eyespot_labels.h has their
        meaning, in order.

   Memory: EYESPOT_ARENA bytes, static, the pixels in it; @LIVE@ of them are needed at one time. Nothing is allocated,
   and nothing is kept between two pictures. One call at a time: the block is shared. Constants: @WEIGHTS@ bytes of
   weights, and what belongs to them; `size` says how much that is in all.

   Build: any compiler of C99, e.g. cc -std=c99 -O2 -c eyespot_model.c. Integers only; no library. On Arm Cortex-M with
   CMSIS-NN: -DEYESPOT_CMSIS_NN -DCMSIS_NN_USE_SINGLE_ROUNDING, and the same for the library (without
   CMSIS_NN_USE_REQUANTIZE_INLINE_ASSEMBLY): the same integers, faster. */
#ifndef EYESPOT_MODEL_H
#define EYESPOT_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EYESPOT_NAME @NAME@
#define EYESPOT_HEIGHT @HEIGHT@
#define EYESPOT_WIDTH @WIDTH@
#define EYESPOT_CLASSES @CLASSES@
#define EYESPOT_ARENA @ARENA@
#define EYESPOT_MACS @MACS@
#define EYESPOT_LOGIT_STEP @STEP@
#define EYESPOT_PREPROCESS @PREPROCESS@

/* Where the pixels of a picture may be put, EYESPOT_HEIGHT * EYESPOT_WIDTH * 3 bytes; it spares a buffer for them. What
   is there is gone after a call. */
uint8_t *eyespot_pixels(void);

/* The output that is highest, and all of them in logits[EYESPOT_CLASSES]. pixels: eyespot_pixels(), or any other. */
int eyespot_classify(const uint8_t *pixels, int32_t *logits);

/* 0 when this processor computes, on a picture of noise, the integers that the network has been proven with. */
int eyespot_selftest(int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
