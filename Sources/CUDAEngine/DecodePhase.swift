/// The phases of a layer in the cooperative decode step, in their order, each with one hand-over before it.
enum DecodePhase: String, CaseIterable {
  case projectQueryKeyValue = "q·k·v"
  case attend = "attention"
  case projectOut = "attention output"
  case gateUp = "gate·up"
  case down = "down"
}
