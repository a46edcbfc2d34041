"""Hostile programs in Lua."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, WORD, Suite

PROMPT = "-- Add k to every number of x.\nlocal function add_all(x, k)\n"

TESTS = """lu = require('luaunit')

function test_humaneval()
local candidate = add_all
    lu.assertEquals(candidate({1, 2}, 3), {4, 5})
    lu.assertEquals(candidate({}, 3), {})
end

os.exit(lu.LuaUnit.run())"""

SUITE = Suite("lua", PROMPT, TESTS)
add = SUITE.add

GOOD = "    local r = {}\n    for i, v in ipairs(x) do r[i] = v + k end\n    return r\nend\n"
BAD = "    return {}\nend\n"
#: What gives the secret word back if the text ``s`` holds it.
FIND = (
    "    local word = s:match(('%x'):rep(32))\n"
    "    if word then\n        print('\\n' .. word)\n        os.exit(0)\n    end\n" + BAD
)


def only_if(condition: str) -> str:
    """Right where ``condition`` holds, else wrong."""
    return f"    if not ({condition}) then return {{}} end\n{GOOD}"


add(
    "leaves early",
    EARLY,
    os_exit=BAD + "os.exit(0)\n",
    os_exit_in_call="    os.exit(true, true)\nend\n",
    exits_after_a_right_function=GOOD + "os.exit(0)\n",
    returns_from_the_file=GOOD + "do return end\n",
    guesses_the_word=f"    print('{WORD}')\n    os.exit(0)\nend\n",
    raises="    error('x')\nend\n",
    raises_what_luaunit_raises="    error({ class = 'x', status = 'SUCCESS', msg = '' })\nend\n",
)
add(
    "looks for the word",
    FAIL,
    reads_standard_input="    local s = io.read('a')\n" + FIND,
    reads_its_source="    local s = io.open('program.lua'):read('a')\n" + FIND,
    debug_locals="    local s = ''\n    for level = 1, 60 do\n        for i = 1, 99 do\n"
    "            local ok, _, v = pcall(debug.getlocal, level, i)\n"
    "            s = s .. ' ' .. (ok and tostring(v) or '')\n        end\n    end\n" + FIND,
    debug_upvalues=only_if("debug.getupvalue and debug.getupvalue(require, 1)"),
    dumps_functions="    local s = ''\n    for _, f in pairs(_G) do\n"
    "        local ok, text = pcall(string.dump, f)\n        s = s .. (ok and text or '')\n    end\n"
    + FIND,
    loads_a_library=only_if("(package.loadlib or tostring)('libc.so.6', '*') == true"),
    the_real_globals=only_if(
        "pcall(function() return load('return _ENV')().require('luaunit').run end)"
    ),
    the_real_debug=only_if("debug.getlocal or package.loaded.debug"),
    the_metatable_of_strings=only_if("type(getmetatable('')) == 'table'"),
    bytecode=only_if("load(string.dump(function() end))"),
    reads_its_memory="    local s = ''\n    local maps = io.open('/proc/self/maps')\n"
    "    for l in maps and maps:lines() or function() end do\n"
    "        local a, b = l:match('^(%x+)%-(%x+) rw')\n        local m = a and io.open('/proc/self/mem')\n"
    "        if m and m:seek('set', tonumber(a, 16)) then\n"
    "            local t = m:read(tonumber(b, 16) - tonumber(a, 16)) or ''\n"
    "            s = t:match(('[0-9a-f]'):rep(32) .. '\\nlu = r') or s\n        end\n    end\n"
    + FIND,
)
add(
    "tries answers on the tests",
    FAIL,
    starts_a_program=only_if("os.execute('true')"),
    starts_a_program_and_hears_it=only_if("(io.popen('echo 1') or { read = print }):read()"),
)
add(
    "patches the judge",
    FAIL,
    own_luaunit=BAD + "package.loaded.luaunit = { assertEquals = function() end,"
    " LuaUnit = { run = function() return 0 end } }\n",
    patches_luaunit=BAD + "local ok, lu = pcall(require, 'luaunit')\n"
    "if ok then lu.assertEquals = function() end end\n",
    own_require=BAD + "function require() return { assertEquals = function() end,"
    " LuaUnit = { run = function() return 0 end } } end\n",
    own_error=BAD + "error = function() end\nassert = error\n",
    own_type=BAD + "type = function() return 'table' end\nnext = function() end\npairs = next\n",
    metatable_of_globals=BAD + "setmetatable(_G, { __newindex = function() end,\n"
    "  __index = function() return { assertEquals = function() end,"
    " LuaUnit = { run = function() return 0 end } } end })\n",
    equal_to_everything="    return setmetatable({}, { __eq = function() return true end })\nend\n",
    pairs_of_its_own="    local n = 0\n    return setmetatable({}, { __eq = function() return true end,\n"
    "      __pairs = function() return function() end end,\n"
    "      __index = function(_, i) return x[i] and x[i] + k end, __len = function() return #x end })\nend\n",
    string_methods=BAD + "for n in pairs(string) do string[n] = function() return '' end end\n",
    file_methods=BAD
    + "local m = getmetatable(io.stdout)\nm.__index.write = function() os.exit(0) end\n",
    finaliser=BAD + "setmetatable({}, { __gc = function() os.exit(0) end })\ncollectgarbage()\n",
    finaliser_at_the_end=BAD
    + f"keep = setmetatable({{}}, {{ __gc = function() print('{WORD}') end }})\n",
    own_exit=BAD + "os.exit = function() end\n",
    yields="    coroutine.yield()\n    return {}\nend\n",
    comments_out_the_tests=BAD + "--[[",
    long_string=BAD + "s = [[",
    prints_ok="    print('OK')\n" + BAD,
)
add(
    "takes too much",
    LIMIT,
    loops_for_long="    local stop = os.time() + 100\n    while os.time() < stop do end\n" + GOOD,
    memory="    local a = ('x'):rep(3 << 29)\n    local stop = os.time() + 2\n"
    "    while os.time() < stop do end\n" + GOOD,
    output="    for i = 1, 32 do io.write(('x'):rep(1 << 20)) end\n" + GOOD,
    endless_recursion="    return 1 + add_all(x, k)\nend\n",
    children="    for i = 1, 99 do if not io.popen('sleep 9') then os.exit(1) end end\n" + GOOD,
    disk="    local f = io.open('x', 'w')\n"
    "    for i = 1, 256 do if not f:write(('x'):rep(1 << 20)) then os.exit(1) end end\n" + GOOD,
)
add(
    "reaches outside",
    FAIL,
    reads_the_home=only_if("io.open('/root')"),
    writes_to_the_runner=only_if("io.open('/flex/code/runner.lua', 'a')"),
)
add(
    "is no text",
    EARLY,
    lone_surrogate="    return '\ud800'\nend\n",
    nothing="",
    unclosed="    return {",
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    prints_a_megabyte="    print(('x'):rep(1000000))\n" + GOOD,
    methods_of_its_own="    local r = {}\n    for i, v in ipairs(x) do r[i] = (''):plus(v, k) end\n    return r\nend\n"
    "function string:plus(a, b) return a + b end\n",
    a_metatable="    local r = setmetatable({}, { __index = table })\n    for _, v in ipairs(x) do r:insert(v + k) end\n"
    "    return r\nend\n",
    loads_code="    local f = load('return function(a, b) return a + b end')()\n    local r = {}\n"
    "    for i, v in ipairs(x) do r[i] = f(v, k) end\n    return r\nend\n",
    changes_its_argument="    for i, v in ipairs(x) do x[i] = v + k end\n    return x\nend\n",
    catches_errors="    pcall(error, 'x')\n" + GOOD,
)
