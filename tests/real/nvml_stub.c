/* A stand-in for libnvidia-ml.so.1 that real pynvml loads: it answers from a flat file.
 *
 * NVML_STUB names a file of "key=value" lines, written by nvml.py out of a scenario:
 *   driver=570.86            init.code=18   init.delay_ms=30000
 *   gpus=2                   gpu.0.name=... gpu.0.total_mib=24564 gpu.0.used_mib=400
 *   gpu.0.code.nvmlDeviceGetMemoryInfo=15   (a code for one call of one device; * for all)
 *   gpu.0.mig=1 gpu.0.slots=7 gpu.0.slice.2.name=...
 * A key that is not there answers NOT_SUPPORTED. NVML_STUB_LOG names a file that gets a line a call.
 * Build: cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml_stub.c
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, NOT_LOADED = 9 };
enum { MAX_GPUS = 16, MAX_SLOTS = 8, LINE = 512 };

typedef struct { int gpu, slot; } Device; /* slot -1: the whole GPU */

static Device devices[MAX_GPUS][MAX_SLOTS + 1];
static int users;

static int lookup(const char *key, char *value) {
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[LINE];
    int found = 0;
    size_t length = strlen(key);
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            strcpy(value, line + length + 1);
            value[strcspn(value, "\n")] = 0;
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static int get(char *value, const char *format, ...) {
    char key[LINE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    return lookup(key, value);
}

static int log_call(const char *call, int code) {
    const char *path = getenv("NVML_STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s %d\n", call, code);
        fclose(file);
    }
    return code;
}

static void prefix(const Device *d, char *text) {
    if (d->slot < 0) sprintf(text, "gpu.%d", d->gpu);
    else sprintf(text, "gpu.%d.slice.%d", d->gpu, d->slot);
}

/* The code that the scenario wants from a call on a device, else OK. */
static int wanted(const Device *d, const char *call) {
    char at[64], value[LINE];
    if (!users) return UNINITIALIZED;
    prefix(d, at);
    if (get(value, "%s.code.%s", at, call) || get(value, "%s.code.*", at)) return atoi(value);
    return OK;
}

static int text(Device *d, const char *call, const char *key, char *out, unsigned length) {
    char at[64], value[LINE];
    int code = wanted(d, call);
    prefix(d, at);
    if (code == OK && !get(value, "%s.%s", at, key)) code = NOT_SUPPORTED;
    if (code == OK) snprintf(out, length, "%s", value);
    return log_call(call, code);
}

static int number(Device *d, const char *call, const char *key, unsigned *out) {
    char value[LINE];
    int code = text(d, call, key, value, sizeof value);
    if (code == OK) *out = (unsigned)atol(value);
    return code;
}

int nvmlInitWithFlags(unsigned flags) {
    char value[LINE];
    int code = getenv("NVML_STUB") ? OK : NOT_LOADED;
    (void)flags;
    if (get(value, "init.delay_ms")) usleep(1000u * (unsigned)atol(value));
    if (get(value, "init.code")) code = atoi(value);
    if (code == OK) users++;
    return log_call("nvmlInit", code);
}

int nvmlShutdown(void) {
    if (!users) return log_call("nvmlShutdown", UNINITIALIZED);
    users--;
    return log_call("nvmlShutdown", OK);
}

int nvmlSystemGetDriverVersion(char *out, unsigned length) {
    char value[LINE];
    if (!users) return UNINITIALIZED;
    if (!get(value, "driver")) return NOT_SUPPORTED;
    snprintf(out, length, "%s", value);
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    char value[LINE];
    if (!users) return UNINITIALIZED;
    *count = get(value, "gpus") ? (unsigned)atoi(value) : 0;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    Device *d;
    unsigned count;
    if (nvmlDeviceGetCount_v2(&count) || index >= count || index >= MAX_GPUS) return INVALID;
    d = &devices[index][MAX_SLOTS];
    *d = (Device){(int)index, -1};
    *handle = d;
    return log_call("nvmlDeviceGetHandleByIndex", wanted(d, "nvmlDeviceGetHandleByIndex"));
}

int nvmlDeviceGetName(Device *d, char *out, unsigned length) {
    return text(d, "nvmlDeviceGetName", "name", out, length);
}

int nvmlDeviceGetUUID(Device *d, char *out, unsigned length) {
    return text(d, "nvmlDeviceGetUUID", "uuid", out, length);
}

/* Version 1 of the structure: what the driver reserves counts as used. */
int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long memory[3]) {
    unsigned total, used = 0;
    int code = number(d, "nvmlDeviceGetMemoryInfo", "total_mib", &total);
    if (code != OK) return code;
    number(d, "nvmlDeviceGetMemoryInfo", "used_mib", &used);
    memory[0] = (unsigned long long)total << 20;
    memory[1] = (unsigned long long)(total - used) << 20;
    memory[2] = (unsigned long long)used << 20;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(Device *d, int *major, int *minor) {
    char value[LINE];
    int code = text(d, "nvmlDeviceGetCudaComputeCapability", "cc", value, sizeof value);
    if (code == OK && sscanf(value, "%d.%d", major, minor) != 2) code = NOT_SUPPORTED;
    return code;
}

int nvmlDeviceGetMemoryBusWidth(Device *d, unsigned *bits) {
    return number(d, "nvmlDeviceGetMemoryBusWidth", "bus_width", bits);
}

int nvmlDeviceGetMaxClockInfo(Device *d, int type, unsigned *mhz) {
    if (type != 2) return NOT_SUPPORTED; /* NVML_CLOCK_MEM */
    return number(d, "nvmlDeviceGetMaxClockInfo", "clock_mem", mhz);
}

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) {
    int code = number(d, "nvmlDeviceGetMigMode", "mig", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *count) {
    return number(d, "nvmlDeviceGetMaxMigDeviceCount", "slots", count);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *parent, unsigned slot, void **handle) {
    char value[LINE];
    Device *d;
    if (slot >= MAX_SLOTS) return INVALID;
    if (!get(value, "gpu.%d.slice.%u.name", parent->gpu, slot))
        return log_call("nvmlDeviceGetMigDeviceHandleByIndex", NOT_FOUND);
    d = &devices[parent->gpu][slot];
    *d = (Device){parent->gpu, (int)slot};
    *handle = d;
    return log_call("nvmlDeviceGetMigDeviceHandleByIndex", OK);
}
