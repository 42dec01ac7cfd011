-- What injected faults do to a request; see injection.py. No state: every thread has its own copy of this.

local LINE = "^(%d+):(%d+):(%d+):(%d+):(%w*):([^:]*):([^:]*):(.*)$"

-- Whether the request has the header that the fault asks for.
local function asked(txn, header, value)
  if header == "" then return true end
  local wanted = txn.c:b64dec(value)
  for _, given in pairs(txn.http:req_get_headers()[header] or {}) do
    if given == wanted then return true end
  end
  return false
end

-- Waits as long as all faults that strike say; the first that ends the request does.
core.register_action("strike", { "http-req" }, function(txn)
  local now, wait, struck, status, who = core.now().sec, 0, nil, nil, nil
  local seen = {}
  for _, name in ipairs({ "txn.fault_of_service", "txn.fault_of_way", "txn.fault_of_call" }) do
    local lines = txn:get_var(name)
    if lines and not seen[lines] then
      seen[lines] = true
      for line in string.gmatch(lines, "[^,]+") do
        local till, share, delay, jitter, effect, header, value, fault = string.match(line, LINE)
        if till and now < tonumber(till) and math.random(10000) <= tonumber(share) and asked(txn, header, value) then
          wait = wait + tonumber(delay) + math.random(-tonumber(jitter), tonumber(jitter))
          if not struck or (struck == "delay" and effect ~= "") then
            struck, who = effect == "" and "delay" or effect == "drop" and "drop" or "abort", fault
            status = tonumber(effect)
          end
        end
      end
    end
  end
  if not struck then return end
  if wait > 0 then core.msleep(math.min(wait, 60000)) end
  local mark = txn:get_var("txn.mark")
  txn:set_var("txn.mark", (mark and mark .. "," or "") .. "fault-" .. struck .. ":" .. who)
  txn:set_var("txn.struck", struck)
  if status then txn:set_var("txn.fault_status", status) end
end, 0)

-- Answers in the instance's place.
core.register_action("abort", { "http-req" }, function(txn)
  local reply = txn:reply()
  reply:set_status(txn:get_var("txn.fault_status"))
  reply:add_header("content-type", "application/problem+json")
  reply:add_header("cache-control", "no-store")
  reply:set_body(txn:get_var("txn.fault_body"))
  txn:done(reply)
end, 0)
