/* A network in integers: see eyespot_model.h. Written by eyespot; it is not meant to be edited. */
#include "eyespot_model.h"

#define EYESPOT_CMSIS_ENOUGH @ENOUGH@ /* bytes that CMSIS-NN's own kernels want to work in, at the most */

@KERNELS@
@TABLES@

@FIRST@
static union {
    int16_t columns[EYESPOT_ARENA / 2];
    int8_t bytes[EYESPOT_ARENA];
} memory;
#define arena memory.bytes

uint8_t *eyespot_pixels(void)
{
    return (uint8_t *)arena + @PIXELS@;
}

int eyespot_classify(const uint8_t *pixels, int32_t *logits)
{
    int best = 0;
    levels_of(pixels, arena + @PIXELS@);
@STEPS@
    for (int i = 1; i < EYESPOT_CLASSES; i++) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    return best;
}

int eyespot_selftest(int32_t *logits)
{
    uint8_t *pixels = eyespot_pixels();
    uint32_t state = 1u, check = 2166136261u;
    for (int32_t i = 0; i < (int32_t)EYESPOT_HEIGHT * EYESPOT_WIDTH * 3; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(state >> 24);
    }
    (void)eyespot_classify(pixels, logits);
    for (int i = 0; i < EYESPOT_CLASSES; i++) {
        check = (check ^ (uint32_t)logits[i]) * 16777619u;
    }
    return check == @CHECK@ ? 0 : 1;
}
