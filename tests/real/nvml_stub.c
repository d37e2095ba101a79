/* A stand-in for libnvidia-ml.so.1 that real pynvml loads: it answers from a flat file.
 *
 * NVML_STUB names a file of "key=value" lines, written by nvml.py out of a scenario. It is read at
 * every call: replace it (rename) to change the box while somebody watches it.
 *   driver=570.86            init.code=18   init.delay_ms=30000
 *   gpus=2                   gpu.0.name=... gpu.0.total_mib=24564 gpu.0.used_mib=400
 *   gpu.0.code.nvmlDeviceGetMemoryInfo=15   (a code for one call of one device; * for all; 13 is a
 *                                            driver that does not have the call)
 *   gpu.0.mig=1 gpu.0.slots=7 gpu.0.slice.2.name=...
 *   gpu.0.processes=1        gpu.0.process.0.pid=4711 (or .pid_file=PATH, which holds the number)
 *                            .type=C (or G, or CG: in both lists) .name=/usr/bin/ollama
 *                            .used_mib=900, NA, or rss: as much as that process has resident,
 *                            which the device has then less, too
 *                            .sm_util=40, in percent, since whatever time is asked for
 *   gpu.0.sm_mhz=1800 .mem_mhz=7501 .temperature=64 .power_mw=170000 .reasons=4 (why it is slow)
 *   gpu.0.delay_ms.nvmlDeviceGetMemoryInfo=30000   (a call that hangs)
 * A key that is not there answers NOT_SUPPORTED. NVML_STUB_LOG names a file that gets a line a call.
 * Build: cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml_stub.c
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
       TOO_SMALL = 7, NOT_LOADED = 9, OTHER_VERSION = 25 };
enum { MAX_GPUS = 16, MAX_SLOTS = 8, LINE = 512, NO_SLICE = -1 };
enum { MEMORY_V2 = 0x02000028 };

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
    if (get(value, "%s.delay_ms.%s", at, call)) usleep(1000u * (unsigned)atol(value));
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
    *d = (Device){(int)index, NO_SLICE};
    *handle = d;
    return log_call("nvmlDeviceGetHandleByIndex", wanted(d, "nvmlDeviceGetHandleByIndex"));
}

int nvmlDeviceGetName(Device *d, char *out, unsigned length) {
    return text(d, "nvmlDeviceGetName", "name", out, length);
}

int nvmlDeviceGetUUID(Device *d, char *out, unsigned length) {
    return text(d, "nvmlDeviceGetUUID", "uuid", out, length);
}

/* The number of a process that is there, else 0: its file may name none yet. */
static long pid_of(const char *at, int process) {
    char value[LINE], path[LINE];
    FILE *file;
    long pid = 0;
    if (get(value, "%s.process.%d.pid", at, process)) return atol(value);
    if (!get(path, "%s.process.%d.pid_file", at, process)) return 0;
    file = fopen(path, "r");
    if (file && fscanf(file, "%ld", &pid) != 1) pid = 0;
    if (file) fclose(file);
    return pid;
}

static unsigned long long resident(long pid) {
    char path[64], line[LINE];
    unsigned long long kib = 0;
    FILE *file;
    sprintf(path, "/proc/%ld/status", pid);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %llu", &kib);
    if (file) fclose(file);
    return kib << 10;
}

/* Bytes that a process holds; all ones where the driver does not know (WDDM). */
static unsigned long long held(const char *at, int process) {
    char value[LINE];
    if (!get(value, "%s.process.%d.used_mib", at, process) || !strcmp(value, "NA")) return ~0ull;
    if (!strcmp(value, "rss")) return resident(pid_of(at, process));
    return (unsigned long long)atol(value) << 20;
}

static int count_of(const char *at) {
    char value[LINE];
    return get(value, "%s.processes", at) ? atoi(value) : 0;
}

/* Fill total, reserved and used: used_mib, and what processes have that follow a real one. */
static int memory(Device *d, const char *call, unsigned long long out[3]) {
    char at[64], value[LINE];
    unsigned total;
    int code = number(d, call, "total_mib", &total);
    if (code != OK) return code;
    prefix(d, at);
    out[0] = (unsigned long long)total << 20;
    out[1] = get(value, "%s.reserved_mib", at) ? (unsigned long long)atol(value) << 20 : 0;
    out[2] = get(value, "%s.used_mib", at) ? (unsigned long long)atol(value) << 20 : 0;
    for (int n = count_of(at); n-- > 0;)
        if (get(value, "%s.process.%d.used_mib", at, n) && !strcmp(value, "rss"))
            out[2] += held(at, n);
    if (out[1] + out[2] > out[0]) out[2] = out[0] - out[1];
    return OK;
}

/* Version 1 of the structure: what the driver reserves counts as used. */
int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long info[3]) {
    unsigned long long found[3];
    int code = memory(d, "nvmlDeviceGetMemoryInfo", found);
    if (code != OK) return code;
    info[0] = found[0];
    info[1] = found[0] - found[1] - found[2];
    info[2] = found[1] + found[2];
    return OK;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;

int nvmlDeviceGetMemoryInfo_v2(Device *d, MemoryV2 *info) {
    unsigned long long found[3];
    int code;
    if (info->version != MEMORY_V2) return log_call("nvmlDeviceGetMemoryInfo_v2", OTHER_VERSION);
    code = memory(d, "nvmlDeviceGetMemoryInfo_v2", found);
    if (code == OK && !found[1]) code = NOT_SUPPORTED;
    if (code != OK) return code;
    info->total = found[0];
    info->reserved = found[1];
    info->used = found[2];
    info->free = found[0] - found[1] - found[2];
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

int nvmlDeviceGetClockInfo(Device *d, int type, unsigned *mhz) {
    if (type != 1 && type != 2) return NOT_SUPPORTED; /* NVML_CLOCK_SM, NVML_CLOCK_MEM */
    return number(d, "nvmlDeviceGetClockInfo", type == 1 ? "sm_mhz" : "mem_mhz", mhz);
}

int nvmlDeviceGetTemperature(Device *d, int sensor, unsigned *celsius) {
    (void)sensor;
    return number(d, "nvmlDeviceGetTemperature", "temperature", celsius);
}

int nvmlDeviceGetEnforcedPowerLimit(Device *d, unsigned *milliwatts) {
    return number(d, "nvmlDeviceGetEnforcedPowerLimit", "power_mw", milliwatts);
}

static int reasons(Device *d, const char *call, unsigned long long *out) {
    unsigned bits = 0;
    int code = number(d, call, "reasons", &bits);
    *out = bits;
    return code;
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *d, unsigned long long *out) {
    return reasons(d, "nvmlDeviceGetCurrentClocksEventReasons", out);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, unsigned long long *out) {
    return reasons(d, "nvmlDeviceGetCurrentClocksThrottleReasons", out);
}

int nvmlDeviceGetMaxPcieLinkGeneration(Device *d, unsigned *generation) {
    return number(d, "nvmlDeviceGetMaxPcieLinkGeneration", "pcie_gen", generation);
}

int nvmlDeviceGetMaxPcieLinkWidth(Device *d, unsigned *width) {
    return number(d, "nvmlDeviceGetMaxPcieLinkWidth", "pcie_width", width);
}

int nvmlDeviceGetEccMode(Device *d, unsigned *current, unsigned *pending) {
    int code = number(d, "nvmlDeviceGetEccMode", "ecc", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetVirtualizationMode(Device *d, unsigned *mode) {
    return number(d, "nvmlDeviceGetVirtualizationMode", "virtualization", mode);
}

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, pci_device, pci_subsystem;
    char bus_id[32];
} PciInfo;

int nvmlDeviceGetPciInfo_v3(Device *d, PciInfo *info) {
    memset(info, 0, sizeof *info);
    return text(d, "nvmlDeviceGetPciInfo", "pci", info->bus_id, sizeof info->bus_id);
}

typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } Process;

/* As the driver does: a first call without room says how many there are. */
static int processes(Device *d, const char *call, const char *type, unsigned *room, Process *out) {
    char at[64], value[LINE];
    int code = wanted(d, call);
    unsigned found = 0;
    if (code != OK) return log_call(call, code);
    prefix(d, at);
    for (int n = 0; n < count_of(at); n++) {
        long pid = pid_of(at, n);
        if (!get(value, "%s.process.%d.type", at, n)) strcpy(value, "C");
        if (!pid || !strstr(value, type)) continue;
        if (out && found < *room) out[found] = (Process){(unsigned)pid, held(at, n), ~0u, ~0u};
        found++;
    }
    code = found > *room ? TOO_SMALL : OK;
    *room = found;
    return log_call(call, code);
}

#define PROCESSES(call, type) \
    int call(Device *d, unsigned *room, Process *out) { \
        return processes(d, #call, type, room, out); \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "C")
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "C")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "G")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "G")

typedef struct { unsigned pid; unsigned long long at_us; unsigned sm, memory, enc, dec; } Use;

/* As the driver does: a first call without room says how many there are. */
int nvmlDeviceGetProcessUtilization(Device *d, Use *out, unsigned *room, unsigned long long since) {
    char at[64], value[LINE];
    struct timeval now;
    unsigned long long now_us;
    unsigned found = 0;
    int code = wanted(d, "nvmlDeviceGetProcessUtilization");
    (void)since;
    gettimeofday(&now, NULL);
    now_us = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_usec;
    prefix(d, at);
    for (int n = 0; code == OK && n < count_of(at); n++) {
        long pid = pid_of(at, n);
        if (!pid || !get(value, "%s.process.%d.sm_util", at, n)) continue;
        if (out && found < *room)
            out[found] = (Use){(unsigned)pid, now_us, (unsigned)atol(value), 0, 0, 0};
        found++;
    }
    if (code == OK) code = !found ? NOT_FOUND : found > *room ? TOO_SMALL : OK;
    *room = found;
    return log_call("nvmlDeviceGetProcessUtilization", code);
}

int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned length) {
    char at[64], value[LINE];
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) {
        sprintf(at, "gpu.%d", gpu);
        for (int n = count_of(at); n-- > 0;) {
            if (pid_of(at, n) != (long)pid || !get(value, "%s.process.%d.name", at, n)) continue;
            snprintf(out, length, "%s", value);
            return log_call("nvmlSystemGetProcessName", OK);
        }
    }
    return log_call("nvmlSystemGetProcessName", NOT_FOUND);
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
