// The types of other modules that appear in this one's interface, one by one. Everything else of those modules stays
// inside the package.
@_documentation(visibility: internal) @_exported import struct BitNetCPUEngine.InstructionSet
@_documentation(visibility: internal) @_exported import struct BitNetInference.SampledToken
@_documentation(visibility: internal) @_exported import struct BitNetInference.SamplingParameters
@_documentation(visibility: internal) @_exported import typealias BitNetInference.TokenID
@_documentation(visibility: internal) @_exported import struct BitNetServing.Speculation
@_documentation(visibility: internal) @_exported import struct BitNetTokenization.ChatMessage
@_documentation(visibility: internal) @_exported import struct BitNetTokenization.ChatTemplate
@_documentation(visibility: internal) @_exported import class BitNetTokenization.Tokenizer
